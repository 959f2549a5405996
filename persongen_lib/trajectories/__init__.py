"""What happens on the way from noise to picture, recorded for a chosen few pictures and kept on disk."""

from persongen_lib.trajectories.analysis import decided, latent_distance, latent_distances
from persongen_lib.trajectories.recorder import TrajectoryRecorder, TrajectoryWriter
from persongen_lib.trajectories.run import TrajectorySpec, load_trajectories, run_trajectories
from persongen_lib.trajectories.spectrum import power_spectrum
from persongen_lib.trajectories.trajectory import FRAMES, Trajectory

__all__ = [
    "FRAMES",
    "Trajectory",
    "TrajectoryRecorder",
    "TrajectorySpec",
    "TrajectoryWriter",
    "decided",
    "latent_distance",
    "latent_distances",
    "load_trajectories",
    "power_spectrum",
    "run_trajectories",
]
