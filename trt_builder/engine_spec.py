"""What an engine is to be: every choice of a TensorRT build in one value."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, fields
from pathlib import Path

from ..errors import UsageError
from ..storage.json_types import JsonObject, ReadJson

TARGETS = ("tensorrt", "tensorrt-rtx")
PRECISIONS = ("fp32", "fp16", "int8")

COMPUTE_CAPABILITIES = ("7.5", "8.0", "8.6", "8.9", "12.0", "12.1")
"""What TensorRT-RTX 1.7 can build for without that GPU at hand."""

DYNAMIC_BATCH = (1, 1, 8)
"""The profile of a graph whose batch is free, where none is asked for."""


@dataclass(frozen=True)
class EngineSpec:
    """What to build.

    Args:
        precision: ``fp32``, ``fp16`` or ``int8``.
        target: ``tensorrt`` builds on the GPU that it is for; ``tensorrt-rtx`` needs none.
        compute_capabilities: TensorRT-RTX's alone, one engine each; empty takes this machine's GPU, or 8.6.
        batch: (fewest, most likely, most) frames per call, where the graph's batch is free.
        workspace_mb: memory that a layer may use while it runs; None takes half of what is free.
        optimization_level: 0 builds fast, 5 tries most; TensorRT's own default is 3.
        timing_cache: file of measured tactics; None keeps one beside the bundle.
        dla_core: run on this deep-learning accelerator of a Jetson; None for the GPU.
        gpu_fallback: layers that the accelerator lacks run on the GPU; it lacks some of every graph of ours.
        version_compatible: later versions of the same major version run the engine too, more slowly.
        hardware_compatible: Ampere GPUs and later ones run the engine too, more slowly.
        sparsity: use kernels for weights of which two of four are zero, where they are.
        refit: weights can be changed later.

    Raises:
        UsageError: choices that cannot go together.
    """

    precision: str = "int8"
    target: str = "tensorrt"
    compute_capabilities: tuple[str, ...] = ()
    batch: tuple[int, int, int] | None = None
    workspace_mb: int | None = None
    optimization_level: int = 3
    timing_cache: Path | None = None
    dla_core: int | None = None
    gpu_fallback: bool = False
    version_compatible: bool = False
    hardware_compatible: bool = False
    sparsity: bool = False
    refit: bool = False

    def __post_init__(self) -> None:
        if self.precision not in PRECISIONS:
            raise UsageError(f"Unknown precision {self.precision!r}.", f"Choose one of {', '.join(PRECISIONS)}.")
        if self.target not in TARGETS:
            raise UsageError(f"Unknown target {self.target!r}.", f"Choose one of {', '.join(TARGETS)}.")
        if self.batch is not None and not 1 <= self.batch[0] <= self.batch[1] <= self.batch[2]:
            raise UsageError(
                f"The batch profile {','.join(map(str, self.batch))} does not rise from 1 or more.",
                "Give the fewest, the most likely and the most frames of a call, such as 1,4,8.",
            )
        if not 0 <= self.optimization_level <= 5:
            raise UsageError(f"There is no optimization level {self.optimization_level}.", "Choose one from 0 to 5.")
        if self.workspace_mb is not None and self.workspace_mb < 1:
            raise UsageError(f"A workspace of {self.workspace_mb} MB is none.", "Give --workspace at least 1.")
        if self.target == "tensorrt-rtx":
            self._check_rtx()
        elif self.compute_capabilities:
            raise UsageError(
                "--compute-capability goes with --target tensorrt-rtx: TensorRT builds for the GPU at hand.",
                "Give both, or neither.",
            )
        self._check_accelerator()

    def _check_rtx(self) -> None:
        """What TensorRT-RTX 1.7 ignores without a word, or fails at; each was tried."""
        unknown = [name for name in self.compute_capabilities if name not in COMPUTE_CAPABILITIES]
        if unknown:
            raise UsageError(
                f"TensorRT-RTX cannot build for compute capability {unknown[0]}.",
                f"Choose from {', '.join(COMPUTE_CAPABILITIES)}.",
            )
        refused = {
            "--dla": (self.dla_core is not None, "it has no deep-learning accelerator"),
            "--hardware-compatible": (self.hardware_compatible, "give --compute-capability once per GPU generation"),
            "--version-compatible": (self.version_compatible, "its lean runtime is not part of its packages"),
            "--refit": (self.refit, "it needs a GPU for that"),
            "--timing-cache": (self.timing_cache is not None, "it times nothing while it builds"),
        }
        for option, (asked, reason) in refused.items():
            if asked:
                raise UsageError(f"TensorRT-RTX has no {option}: {reason}.", f"Leave {option} out.")

    def _check_accelerator(self) -> None:
        if self.dla_core is None:
            if self.gpu_fallback:
                raise UsageError("--gpu-fallback goes with --dla.", "Give both, or neither.")
            return
        if self.dla_core < 0:
            raise UsageError(f"There is no accelerator {self.dla_core}.", "The first is --dla 0.")
        if not self.gpu_fallback:
            raise UsageError(
                "--dla alone cannot hold these graphs: no accelerator casts uint8 frames, transposes pixels to planes, "
                "reduces over channels or takes an ArgMax.",
                "Give --gpu-fallback as well: those steps run on the GPU then.",
            )
        if self.precision == "fp32":
            raise UsageError("The deep-learning accelerator runs FP16 and INT8 alone.", "Give --fp16 or --int8.")
        if self.batch is not None and self.batch[0] != self.batch[2]:
            raise UsageError(
                "The deep-learning accelerator needs a fixed batch.", "Give --batch-profile three times the same."
            )

    def profile(self, fixed: int | None) -> tuple[int, int, int]:
        """(fewest, most likely, most) frames of a call, of a graph that takes ``fixed`` frames; None for any number.

        Raises:
            UsageError: another number was asked for than the graph takes.
        """
        if fixed is None:
            return self.batch or DYNAMIC_BATCH
        if self.batch not in (None, (fixed,) * 3):
            raise UsageError(
                f"The graph takes {fixed} frames per call, so another --batch-profile cannot be had.",
                "Build the bundle with --batch dynamic.",
            )
        return (fixed,) * 3

    def words(self) -> tuple[str, ...]:
        """What to type after ``trtparse build BUNDLE`` to build the same again, for the machine it is typed on."""
        words = [f"--{self.precision}", "--target", self.target]
        for capability in self.compute_capabilities:
            words += ["--compute-capability", capability]
        if self.batch is not None:
            words += ["--batch-profile", ",".join(map(str, self.batch))]
        if self.optimization_level != 3:
            words += ["--optimization-level", str(self.optimization_level)]
        if self.workspace_mb is not None:
            words += ["--workspace", str(self.workspace_mb)]
        if self.timing_cache is not None:
            words += ["--timing-cache", str(self.timing_cache)]
        if self.dla_core is not None:
            words += ["--dla", str(self.dla_core)]
        flags = {
            "--gpu-fallback": self.gpu_fallback,
            "--version-compatible": self.version_compatible,
            "--hardware-compatible": self.hardware_compatible,
            "--sparsity": self.sparsity,
            "--refit": self.refit,
        }
        return (*words, *(word for word, asked in flags.items() if asked))

    def to_dict(self) -> JsonObject:
        return {**asdict(self), "timing_cache": None if self.timing_cache is None else str(self.timing_cache)}

    def to_json(self) -> str:
        return json.dumps(self.to_dict())

    @classmethod
    def from_json(cls, text: str) -> EngineSpec:
        return cls._from_dict(json.loads(text))

    @classmethod
    def from_settings(cls, settings: ReadJson) -> EngineSpec:
        """The same choices for another machine, of an engine's manifest; what depends on the machine is left open."""
        kept = {field.name for field in fields(cls)} - {"compute_capabilities", "workspace_mb", "timing_cache"}
        values = {name: value for name, value in settings.items() if name in kept}
        return cls._from_dict(values)

    @classmethod
    def _from_dict(cls, told: ReadJson) -> EngineSpec:
        values = dict(told)
        for name in ("compute_capabilities", "batch"):
            if values.get(name) is not None:
                values[name] = tuple(values[name])
        if values.get("timing_cache") is not None:
            values["timing_cache"] = Path(values["timing_cache"])
        return cls(**values)
