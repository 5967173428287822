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
        "The chapter's [::-1] alone: upright, but a mirror image of the training pictures, which "
        "were turned by 180°.",
        wiring_change(orientation="flip_vertical"),
        claims="Reversing the rows is the right thing to do.",
        seen_in=(f"{_OPENVLA}/issues/295", f"{_GITHUB}/huggingface/lerobot/pull/3882"),
    ),
    Condition(
        "no_center_crop",
        "pixels",
        "The whole picture instead of its middle 90 %: everything is 5 % smaller and nearer to the "
        "middle than in training.",
        wiring_change(center_crop=False),
    ),
    Condition(
        "no_jpeg",
        "pixels",
        "The picture is not compressed as JPEG, although the training pictures were. The eye sees "
        "hardly any difference.",
        wiring_change(jpeg=False),
    ),
    Condition(
        "bgr",
        "pixels",
        "Red and blue change places, as when OpenCV reads or writes the picture: shapes are right, "
        "a red can is blue.",
        wiring_change(colour_order="bgr"),
        seen_in=(f"{_GITHUB}/XPolicyLab/XPolicyLab/pull/53",),
    ),
    Condition(
        "stale_frame",
        "pixels",
        "The policy sees the picture of one control step (50 ms) ago, while the arm has moved on "
        "by up to 13 mm.",
        wiring_change(frame_delay=1),
        seen_in=(f"{_GITHUB}/Positronic-Robotics/positronic/issues/421",),
    ),
    Condition(
        "bilinear_resize",
        "pixels",
        "The picture is made smaller bilinearly without antialiasing, as most libraries do unless "
        "told otherwise. Training had lanczos3; edges are a little rougher.",
        wiring_change(resize="bilinear"),
        clip=False,
    ),
    Condition(
        "wrist_camera",
        "pixels",
        "The policy gets the camera at the robot's wrist, under the other one's name. Shape and "
        "type are the same.",
        wiring_change(camera="wrist"),
        seen_in=(f"{_GITHUB}/moojink/openvla-oft/issues/17",),
        clip=False,
    ),
    Condition(
        "wrong_prompt",
        "prompt",
        "A sentence with the same meaning instead of the In:/Out: scaffold that the policy was "
        "trained with.",
        wiring_change(prompt_template="What action should the robot take? {instruction}"),
        claims="Tokens drift to the middle of their range, so that commands hover near zero or "
        "cluster at the ends, whatever the scene.",
    ),
    Condition(
        "no_empty_token",
        "prompt",
        "The prompt ends without token 29871, Llama's lone space, which ended every prompt in "
        "training.",
        wiring_change(empty_token=False),
        seen_in=(f"{_OPENVLA}/issues/104",),
    ),
    Condition(
        "upper_case",
        "prompt",
        "The instruction in capital letters: other tokens for the same words, where the protocol "
        "writes everything small.",
        wiring_change(letter_case="upper"),
    ),
    Condition(
        "trailing_period",
        "prompt",
        "The instruction ends with a full stop, as sentences do, so the scaffold reads “….?”.",
        wiring_change(prompt_template=OPENVLA_TEMPLATE.replace("{instruction}", "{instruction}.")),
    ),
    Condition(
        "wrong_unnorm_key",
        "motion",
        "Bins are turned into motion with Bridge's statistics, which are in metres, so LIBERO's "
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
        "libero_spatial's statistics, same robot: x 21 % too large, y 11 % too small and shifted "
        "to one side, rotations 34–44 % too large.",
        wiring_change(unnorm_key="libero_spatial", embedded_statistics=True),
        needs="tokens",
        seen_in=(f"{_OPENVLA}/issues/225", f"{_OPENVLA}/issues/203"),
    ),
    Condition(
        "gripper_inverted",
        "motion",
        "The minus sign of the gripper's mapping is forgotten: open means close.",
        wiring_change(gripper="inverted"),
        seen_in=(f"{_GITHUB}/lovellai-dev/odyssey/pull/95",),
    ),
    Condition(
        "gripper_not_binarised",
        "motion",
        "The gripper's number keeps its size. Nothing changes: LIBERO's gripper looks at the sign "
        "alone, another robot's may not.",
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
        "Synthetic: every translation times four, clipped by LIBERO's controller. What the chapter "
        "expects of a wrong key; no key here does it.",
        wiring_change(translation_gain=4.0),
        claims="What a wrong unnorm_key does: motion too large by a factor of 3 to 5, |dx| above "
        "0.1 m a step.",
    ),
    Condition(
        "padded_vocabulary",
        "motion",
        "Tokens become bins by the padded vocabulary's 32064 ids, where 32000 is right: every bin "
        "is 64 too high, a quarter of the range.",
        wiring_change(vocabulary=32064),
        needs="tokens",
        seen_in=(_VLLM_OMNI, f"{_GITHUB}/FastCrest/tether/pull/245"),
        clip=False,
    ),
    Condition(
        "mask_ignored",
        "motion",
        "The statistics' mask is not read, so that the gripper is un-normalised as well: a close "
        "comes out as one half, which has no sign.",
        wiring_change(action_mask=False),
        needs="tokens",
        seen_in=(_VLLM_OMNI,),
        clip=False,
    ),
    Condition(
        "min_max_statistics",
        "motion",
        "Tokens are stretched to the smallest and largest action of the training data, where the "
        "1 % and 99 % quantiles are right. Translations grow by up to a quarter, rotations more "
        "than double.",
        wiring_change(action_bounds="extremes"),
        needs="tokens",
        seen_in=(_PITFALLS,),
        clip=False,
    ),
    Condition(
        "control_rate_10",
        "motion",
        "The simulator runs at so many control steps a second. LIBERO's data have 20: with fewer, "
        "each displacement lasts longer and gets farther.",
        perturbation_change(control_rate=10.0),
        level=10,
        unit=" Hz",
        seen_in=(f"{_GITHUB}/TensorAuto/OpenTau/pull/312",),
        clip=False,
    ),
    Condition(
        "absolute_control",
        "motion",
        "The controller takes displacements for places: the hand is sent to where the action's "
        "numbers lie in the room.",
        perturbation_change(absolute_control=True),
        seen_in=(_PITFALLS,),
        clip=False,
    ),
    *(
        Condition(
            f"latency_{steps}",
            "motion",
            "The simulator does not wait: each answer comes so many control steps of 50 ms late, "
            "and until then the arm repeats its last action.",
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
            "For policies that answer with a chunk of actions: so many of them are executed before "
            "the next picture is looked at.",
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
        "For policies that answer with a chunk of actions: the arm executes the chunk before the "
        "newest one, which was meant for another place.",
        wiring_change(stale_chunks=1),
        clip=False,
        needs="chunks",
    ),
    Condition(
        "no_settle",
        "simulator",
        "The policy begins while the objects, which start inside the floor, still drop.",
        wiring_change(settle_steps=0),
        seen_in=(f"{_GITHUB}/huggingface/lerobot/pull/3020",),
    ),
    Condition(
        "mujoco_drift",
        "simulator",
        "Textures tagged sRGB (the floor, some labels) are darker, as MuJoCo draws them from 3.3.3 "
        "on; physics stay.",
        perturbation_change(srgb_textures=True),
        seen_in=(f"{_OPENVLA}/issues/282", f"{_OPENVLA}/issues/335", f"{_LIBERO}/issues/88"),
    ),
)
"""In the order of the boundaries: pixels, prompt, motion, simulator."""
