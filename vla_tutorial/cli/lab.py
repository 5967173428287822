"""`vla-tutorial lab`: what a teacher needs for a class: sheets, marks, nbgrader, Otter, slides."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape
from rich.table import Table

from vla_tutorial.cli.terminal import out, show, tell
from vla_tutorial.errors import TutorialError

app = typer.Typer(no_args_is_help=True, help="For teachers: question sheets, marks and slides.")

KeyFile = Annotated[
    Path,
    typer.Option("--key-file", help="File with the class's key. Only `release` makes a new one."),
]
Notebook = Annotated[Path, typer.Option(help="The lab's notebook.")]
NOTEBOOK = Path("notebooks/lab_classroom.ipynb")
KEY = Path("class.key")


@app.callback()
def lab() -> None:
    """For teachers: each student's sheet, marks of what they hand in, nbgrader, Otter, slides."""


@app.command()
def release(
    names: Annotated[list[str], typer.Argument(metavar="NAME...", help="Names of the students.")],
    key_file: KeyFile = KEY,
    out_dir: Annotated[Path, typer.Option("--out", help="Folder to write to.")] = Path("release"),
    notebook: Notebook = NOTEBOOK,
    teacher: Annotated[
        bool, typer.Option("--teacher", help="Also write the answer key, which is only for you.")
    ] = False,
) -> None:
    """Write a notebook and a sheet for each student (a second or two each).

    The same key and name always give the same sheet. Keep the key: you cannot mark without it.

    Example: `vla-tutorial lab release ada bob --key-file class.key --out release --teacher`
    """
    from vla_tutorial.files import write_atomically
    from vla_tutorial.lab.teacher.keys import read_key, write_key
    from vla_tutorial.lab.teacher.pages import answer_key_html
    from vla_tutorial.lab.teacher.release import write_release

    new = not key_file.exists()
    key = write_key(key_file) if new else read_key(key_file)
    if new:
        tell(out, f"Drew a new key: [bold]{escape(str(key_file))}[/]. Keep it, and keep it secret.")
    folders = write_release(key, names, notebook, out_dir)
    tell(out, f"Wrote {len(folders)} folders to [bold]{escape(str(out_dir / 'students'))}[/].")
    if teacher:
        page = out_dir / "teacher" / "answer_key.html"
        page.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(page, answer_key_html(key, list(folders)))
        tell(out, f"Wrote [bold]{escape(str(page))}[/], for you alone.")


@app.command()
def grade(
    folder: Annotated[Path, typer.Argument(help="Folder with the files handin_NAME.zip.")],
    key_file: KeyFile = KEY,
    out_dir: Annotated[Path, typer.Option("--out", help="Folder to write to.")] = Path("marks"),
) -> None:
    """Mark every hand-in of a folder, and write marks.csv and open_answers.html.

    It also prints a table. It checks the answers again and runs nothing from a hand-in. A student
    takes a second or two.

    Example: `vla-tutorial lab grade handed_in --key-file class.key --out marks`
    """
    from vla_tutorial.files import check_writable, write_atomically
    from vla_tutorial.lab.points import possible
    from vla_tutorial.lab.teacher.grading import grade_folder, marks_csv
    from vla_tutorial.lab.teacher.keys import read_key
    from vla_tutorial.lab.teacher.pages import open_answers_html

    check_writable(out_dir)
    graded = grade_folder(folder, read_key(key_file))
    out_dir.mkdir(parents=True, exist_ok=True)
    write_atomically(out_dir / "marks.csv", marks_csv(graded))
    write_atomically(out_dir / "open_answers.html", open_answers_html(graded))
    table = Table("name", f"of {possible()}", "remarks")
    for one in graded:
        total = "–" if one.total is None else str(one.total)
        table.add_row(escape(one.name), total, escape(" ".join(one.remarks)))
    show(table)
    tell(out, f"Wrote [bold]{escape(str(out_dir))}[/]: marks.csv and open_answers.html.")


@app.command()
def nbgrader(
    seed_from: Annotated[str, typer.Option(help="The name whose variant all students get.")],
    key_file: KeyFile = KEY,
    out_dir: Annotated[Path, typer.Option("--out", help="Course folder.")] = Path("course"),
    notebook: Notebook = NOTEBOOK,
) -> None:
    """Write a course folder for nbgrader, with answers, hidden tests and the configuration.

    Example: `vla-tutorial lab nbgrader --seed-from spring --key-file class.key --out course`
    """
    from vla_tutorial.lab.teacher.keys import read_key
    from vla_tutorial.lab.teacher.nbgrader import write_course

    path = write_course(read_key(key_file), seed_from, notebook, out_dir)
    tell(out, f"Wrote [bold]{escape(str(path))}[/] with answers. Next, there: ")
    tell(out, "nbgrader generate_assignment lab")


@app.command()
def otter(
    seed_from: Annotated[str, typer.Option(help="The name whose variant all students get.")],
    key_file: KeyFile = KEY,
    out_dir: Annotated[Path, typer.Option("--out", help="Folder to write to.")] = Path("otter"),
    notebook: Notebook = NOTEBOOK,
) -> None:
    """Write two folders for Otter: one for the students, and one with hidden tests only for you.

    Example: `vla-tutorial lab otter --seed-from spring --key-file class.key --out otter`
    """
    from vla_tutorial.lab.sheet import sheet_file
    from vla_tutorial.lab.teacher.keys import read_key
    from vla_tutorial.lab.teacher.otter import write_otter

    students = write_otter(read_key(key_file), seed_from, notebook, out_dir)
    tell(out, f"Wrote [bold]{escape(str(students))}[/] for the students.")
    tell(
        out, f"Wrote [bold]{escape(str(out_dir / 'tests'))}[/] with answers. Next, in the former: "
    )
    sheet = escape(sheet_file(students.name))
    tell(out, f"otter generate -t ../../tests -o ../../autograder.zip {sheet}")


@app.command()
def handouts(
    out_dir: Annotated[Path, typer.Option("--out", help="Folder to write to.")] = Path("class"),
) -> None:
    """Write slides.html and worksheet.html, which open and print without a network (10 s).

    Example: `vla-tutorial lab handouts --out class`
    """
    from vla_tutorial.files import check_writable, write_atomically
    from vla_tutorial.lab.teacher.pages import slides_html, worksheet_html

    if out_dir.is_file():
        raise TutorialError(f"{out_dir} is a file. Expected a folder: choose another with --out.")
    check_writable(out_dir)
    out_dir.mkdir(parents=True, exist_ok=True)
    write_atomically(out_dir / "slides.html", slides_html())
    write_atomically(out_dir / "worksheet.html", worksheet_html())
    tell(out, f"Wrote [bold]{escape(str(out_dir))}[/]: slides.html and worksheet.html.")
