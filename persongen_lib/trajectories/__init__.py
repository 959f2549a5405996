"""What happens on the way from noise to image, recorded for a chosen few images and kept on disk."""

from persongen_lib.core.lazy import public

_NAMES = {
    "persongen_lib.trajectories.analysis": ["decided", "latent_distance", "latent_distances"],
    "persongen_lib.trajectories.recorder": ["TrajectoryRecorder", "TrajectoryWriter"],
    "persongen_lib.trajectories.run": ["TrajectorySpec", "load_trajectories", "run_trajectories"],
    "persongen_lib.trajectories.spectrum": ["power_spectrum"],
    "persongen_lib.trajectories.trajectory": ["FRAMES", "Trajectory"],
}
__getattr__, __dir__, __all__ = public(__name__, _NAMES)
