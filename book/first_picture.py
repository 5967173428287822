"""Save LIBERO's first picture of libero_object's task 0 as my_agentview.png. Plain LIBERO, no code of ours.

    python first_picture.py && vla-tutorial doctor --picture my_agentview.png
"""
from pathlib import Path
from libero.libero import benchmark, get_libero_path
from libero.libero.envs import OffScreenRenderEnv
from PIL import Image

suite = benchmark.get_benchmark_dict()["libero_object"]()
task = suite.get_task(0)
bddl = Path(get_libero_path("bddl_files"), task.problem_folder, task.bddl_file)
env = OffScreenRenderEnv(bddl_file_name=str(bddl), camera_heights=256, camera_widths=256)
env.reset()
env.set_init_state(suite.get_task_init_states(0)[0])
for _ in range(10):
    observation, *_ = env.step([0, 0, 0, 0, 0, 0, -1])
Image.fromarray(observation["agentview_image"]).save("my_agentview.png")
