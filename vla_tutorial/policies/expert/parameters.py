"""What can be tuned about the expert's motion.

Dimensions of the robot and of LIBERO's objects stay beside the code that uses them.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Parameters:
    """Gains, speeds and clearances.

    The defaults were found by trial on libero_object and on random layouts of its objects. Speeds
    are in OSC_POSE's units: a command of 1 asks for a goal 0.05 m (or 0.5 rad) ahead and moves the
    hand about 13 mm (0.13 rad) in a control step of 50 ms.

    Attributes:
        gain: command per metre of error; 10 begins to slow down 7 cm before the goal.
        speed: largest norm of the translation command. 0.7 gives episodes about as long as the
            human demonstrations.
        turn_gain: command per radian of error.
        turn_speed: largest norm of the rotation command.
        grasp_depth: metres from the object's top down to the grip site. With 4 mm more the palm
            presses on the object.
        floor_clearance: least height in metres of the grip site above the object's bottom. The
            finger tips reach 9 mm below the site.
        first_lift: share of the speed with which a gripped object leaves the floor; half of it
            while the fingers still close.
        carry_clearance: metres between the carried object's bottom and the basket's rim.
        release_height: metres of the object's origin above the basket's region when the fingers
            open and let it fall.
        close_across: metres off the object's middle, across the finger axis, at which the fingers
            may close (cans bear 20 mm, by trial).
        close_above: metres above the grasp height at which they may; at most 0.28 of the object's
            height, as flat boxes bear only 5 mm.
    """

    gain: float = 10.0
    speed: float = 0.7
    turn_gain: float = 2.0
    turn_speed: float = 0.3
    grasp_depth: float = 0.030
    floor_clearance: float = 0.012
    first_lift: float = 0.2
    carry_clearance: float = 0.05
    release_height: float = 0.014
    close_across: float = 0.014
    close_above: float = 0.014
