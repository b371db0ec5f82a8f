"""The backward pass one vjp at a time: forward and back, as a drawing, as a page with a slider, as text."""

from minivit.stepper.frame import Argument, Frame
from minivit.stepper.stepper import BackwardStepper

__all__ = ["Argument", "BackwardStepper", "Frame"]
