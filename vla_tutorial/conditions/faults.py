"""Faults of the code around a policy: the chapter's three silent failures and their relatives."""

from __future__ import annotations

from vla_tutorial.conditions.condition import Condition, perturbation_change, wiring_change
from vla_tutorial.wiring import OPENVLA_TEMPLATE

_GITHUB = "https://github.com"
_LIBERO = f"{_GITHUB}/Lifelong-Robot-Learning/LIBERO"
_OPENVLA = f"{_GITHUB}/openvla/openvla"
_VLLM_OMNI = f"{_GITHUB}/vllm-project/vllm-omni/pull/6286"
_PITFALLS = (
    f"{_GITHUB}/allenai/vla-evaluation-harness/blob/main/docs/reproductions/common-pitfalls.md"
)

FAULTS = (
    Condition(
        "no_flip",
        "pixels",
        "The picture stays as MuJoCo renders it: upside down and mirrored.",
        wiring_change(orientation="raw"),
        claims="Success on task 0 falls from about 90 % to single digits; the picture's mean looks "
        "normal while the arm misses the can.",
        seen_in=(f"{_GITHUB}/strands-labs/robots/pull/172",),
    ),
    Condition(
        "flip_only",
        "pixels",
        "Only the chapter's [::-1] is done. The picture is upright, but it is a mirror image of "
        "the training pictures, which were turned by 180°.",
        wiring_change(orientation="flip_vertical"),
        claims="Reversing the rows is the right thing to do.",
        seen_in=(f"{_OPENVLA}/issues/295", f"{_GITHUB}/huggingface/lerobot/pull/3882"),
    ),
    Condition(
        "no_center_crop",
        "pixels",
        "The policy gets the whole picture instead of its middle 90 %. Everything in it is 5 % "
        "smaller and nearer to the middle than in training.",
        wiring_change(center_crop=False),
    ),
    Condition(
        "no_jpeg",
        "pixels",
        "The picture is not compressed as JPEG, although the training pictures were. You can "
        "hardly see the difference.",
        wiring_change(jpeg=False),
    ),
    Condition(
        "bgr",
        "pixels",
        "Red and blue change places, as when OpenCV reads or writes the picture. Shapes stay "
        "right, but a red can becomes blue.",
        wiring_change(colour_order="bgr"),
        seen_in=(f"{_GITHUB}/XPolicyLab/XPolicyLab/pull/53",),
    ),
    Condition(
        "stale_frame",
        "pixels",
        "The policy sees the picture of the control step before, which is 50 ms old. Since then "
        "the arm has moved by up to 13 mm.",
        wiring_change(frame_delay=1),
        seen_in=(f"{_GITHUB}/Positronic-Robotics/positronic/issues/421",),
    ),
    Condition(
        "bilinear_resize",
        "pixels",
        "The picture is made smaller bilinearly without antialiasing, as most libraries do by "
        "default. In training the filter was lanczos3. Edges become a little rougher.",
        wiring_change(resize="bilinear"),
        clip=False,
    ),
    Condition(
        "wrist_camera",
        "pixels",
        "The policy gets the picture of the camera at the robot's wrist in place of agentview. "
        "Shape and type are the same.",
        wiring_change(camera="wrist"),
        seen_in=(f"{_GITHUB}/moojink/openvla-oft/issues/17",),
        clip=False,
    ),
    Condition(
        "wrong_prompt",
        "prompt",
        "The prompt has the same meaning, but it lacks the In:/Out: scaffold that the policy was "
        "trained with.",
        wiring_change(prompt_template="What action should the robot take? {instruction}"),
        claims="Tokens drift to the middle of their range. So commands stay near zero or at the "
        "ends, whatever the scene.",
    ),
    Condition(
        "no_empty_token",
        "prompt",
        "The prompt ends without token 29871, Llama's single space. In training every prompt ended "
        "with it.",
        wiring_change(empty_token=False),
        seen_in=(f"{_OPENVLA}/issues/104",),
    ),
    Condition(
        "upper_case",
        "prompt",
        "The instruction is in capital letters, where the published settings have small letters. "
        "The same words become other tokens.",
        wiring_change(letter_case="upper"),
    ),
    Condition(
        "trailing_period",
        "prompt",
        "The instruction ends with a full stop, so the scaffold reads “….?”.",
        wiring_change(prompt_template=OPENVLA_TEMPLATE.replace("{instruction}", "{instruction}.")),
    ),
    Condition(
        "wrong_unnorm_key",
        "motion",
        "Bins are turned into motion with Bridge's statistics, which are in metres. So LIBERO's "
        "arm hardly moves: translations shrink to 1/20 or less. Rotations change by factors of "
        "0.64 to 1.67, and the gripper does not change.",
        wiring_change(unnorm_key="bridge_orig", embedded_statistics=True),
        needs="tokens",
        claims="Motion comes out 3 to 5 times too large: the controller saturates and the arm "
        "slams towards its joint limits.",
        seen_in=(f"{_OPENVLA}/issues/118", f"{_GITHUB}/allenai/vla-evaluation-harness/pull/3"),
    ),
    Condition(
        "wrong_suite_key",
        "motion",
        "Bins are turned into motion with libero_spatial's statistics, of the same robot. x is 21 "
        "% too large, y is 11 % too small and shifted, and rotations are 34–44 % too large.",
        wiring_change(unnorm_key="libero_spatial", embedded_statistics=True),
        needs="tokens",
        seen_in=(f"{_OPENVLA}/issues/225", f"{_OPENVLA}/issues/203"),
    ),
    Condition(
        "gripper_inverted",
        "motion",
        "The minus sign of the gripper's mapping is missing. So the fingers close when they should "
        "open.",
        wiring_change(gripper="inverted"),
        seen_in=(f"{_GITHUB}/lovellai-dev/odyssey/pull/95",),
    ),
    Condition(
        "gripper_not_binarised",
        "motion",
        "The gripper's number keeps its size. Here nothing changes, because LIBERO's gripper uses "
        "only the sign. Another robot's gripper may use the size.",
        wiring_change(gripper="continuous"),
    ),
    Condition(
        "gripper_not_rescaled",
        "motion",
        "The gripper's value is inverted but not rescaled to −1 … 1. “Open” still works. “Close” "
        "becomes 0, so the fingers do not move.",
        wiring_change(gripper="unscaled"),
    ),
    Condition(
        "actions_too_large",
        "motion",
        "Every translation is four times too large, and LIBERO's controller clips it. The chapter "
        "expects this of a wrong key. No key here does it, so this fault is synthetic.",
        wiring_change(translation_gain=4.0),
        claims="A wrong unnorm_key makes motion too large by a factor of 3 to 5. |dx| is above "
        "0.1 m a step.",
    ),
    Condition(
        "padded_vocabulary",
        "motion",
        "Tokens become bins with the padded vocabulary's 32064 ids, where 32000 is right. Every "
        "bin is 64 too high, which is a quarter of the range.",
        wiring_change(vocabulary=32064),
        needs="tokens",
        seen_in=(_VLLM_OMNI, f"{_GITHUB}/FastCrest/tether/pull/245"),
        clip=False,
    ),
    Condition(
        "mask_ignored",
        "motion",
        "The statistics' mask is not read, so the gripper is un-normalised as well. “Close” "
        "becomes one half. After the mapping that is 0, which has no sign.",
        wiring_change(action_mask=False),
        needs="tokens",
        seen_in=(_VLLM_OMNI,),
        clip=False,
    ),
    Condition(
        "min_max_statistics",
        "motion",
        "Tokens are stretched to the smallest and largest action of the training data, where the "
        "1 % and 99 % quantiles are right. Translations grow by up to a quarter. Rotations more "
        "than double.",
        wiring_change(action_bounds="extremes"),
        needs="tokens",
        seen_in=(_PITFALLS,),
        clip=False,
    ),
    Condition(
        "control_rate_10",
        "motion",
        "The simulator runs at this number of control steps a second. LIBERO's data have 20. With "
        "fewer, each displacement lasts longer and moves the hand farther.",
        perturbation_change(control_rate=10.0),
        level=10,
        unit=" Hz",
        seen_in=(f"{_GITHUB}/TensorAuto/OpenTau/pull/312",),
        clip=False,
    ),
    Condition(
        "absolute_control",
        "motion",
        "The controller takes each displacement for a position in the room, and sends the hand "
        "there.",
        perturbation_change(absolute_control=True),
        seen_in=(_PITFALLS,),
        clip=False,
    ),
    *(
        Condition(
            f"latency_{steps}",
            "motion",
            "The simulator does not wait. Each answer comes late by this number of control steps "
            "of 50 ms. Until then the arm repeats its last action.",
            wiring_change(latency=steps),
            level=steps,
            unit="steps",
            clip=False,
        )
        for steps in (1, 2, 4, 8)
    ),
    *(
        Condition(
            f"replan_steps_{steps}",
            "motion",
            "This is for policies that answer with a chunk of actions. This number of them is "
            "executed before the policy gets the next picture.",
            wiring_change(replan_steps=steps),
            level=steps,
            unit="actions",
            clip=False,
            needs="chunks",
        )
        for steps in (1, 10)
    ),
    Condition(
        "stale_chunk",
        "motion",
        "This is for policies that answer with a chunk of actions. The arm executes the chunk "
        "before the newest one, which was meant for another place.",
        wiring_change(stale_chunks=1),
        clip=False,
        needs="chunks",
    ),
    Condition(
        "no_settle",
        "simulator",
        "The objects begin slightly inside the floor. The policy acts while they still drop.",
        wiring_change(settle_steps=0),
        seen_in=(f"{_GITHUB}/huggingface/lerobot/pull/3020",),
    ),
    Condition(
        "mujoco_drift",
        "simulator",
        "The floor and some labels, whose textures are tagged sRGB, are darker. MuJoCo draws them "
        "so from version 3.3.3 on. The physics stay the same.",
        perturbation_change(srgb_textures=True),
        seen_in=(f"{_OPENVLA}/issues/282", f"{_OPENVLA}/issues/335", f"{_LIBERO}/issues/88"),
    ),
)
"""In the order of the boundaries: pixels, prompt, motion, simulator."""
