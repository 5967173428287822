"""Save the first picture of libero_object, task 0, as my_agentview.png. Plain LIBERO.

python first_picture.py && vla-tutorial doctor --picture my_agentview.png
"""

from pathlib import Path

from libero.libero import benchmark, get_libero_path
from libero.libero.envs import OffScreenRenderEnv
from PIL import Image

suite = benchmark.get_benchmark_dict()["libero_object"]()
task = suite.get_task(0)
folder = Path(get_libero_path("bddl_files"), task.problem_folder)
bddl = folder / task.bddl_file
size = {"camera_heights": 256, "camera_widths": 256}
env = OffScreenRenderEnv(bddl_file_name=str(bddl), **size)
env.reset()
env.set_init_state(suite.get_task_init_states(0)[0])
for _ in range(10):
    observation, *_ = env.step([0, 0, 0, 0, 0, 0, -1])
Image.fromarray(observation["agentview_image"]).save("my_agentview.png")
