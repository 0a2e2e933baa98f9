"""The sides of a comparison on a GPU: see `benchmarks.sides`.

`precision` is float32, tf32 (products and convolutions of float32 rounded for tensor cores),
float16 (with a scaled loss) or bfloat16 on every side. Device "cpu" is for trying this without a
GPU.
"""

from __future__ import annotations

import gc
import os
import time
from collections.abc import Callable
from functools import partial
from typing import Any, Literal

import numpy as np

from benchmarks.sides import Ours, Peer, weights

Precision = Literal["tf32", "float32", "float16", "bfloat16"]
HALF = ("float16", "bfloat16")
_SIDE = 8192  # of the matrices whose product shows the peak


class OursOnGpu(Ours):
    """This core; how it convolves, $OPENBOOK_CUDA_CONV says."""

    def __init__(self, precision: str, device: str) -> None:
        import core
        from core import amp, functional, nn, optim
        from core.device import set_float32_matmul_precision

        self.nn, self.functional, self.optim = nn, functional, optim
        self.no_grad = self.inference = core.no_grad
        self.join = functional.cat
        self.device, self.precision = device, precision
        set_float32_matmul_precision("highest" if precision == "float32" else "high")
        self._autocast = partial(amp.autocast, precision if precision in HALF else None)
        self._scaler = amp.GradScaler(device) if precision == "float16" else None

    def tensor(self, array: np.ndarray) -> Any:
        """See Side."""
        from core import Tensor
        from core.device import to_device

        return Tensor(to_device(super().tensor(array).data, self.device))

    def module(self, module: Any, std: float | None = None) -> Any:
        """See Side."""
        return super().module(module, std).to(self.device)

    def gram(self, features: Any) -> Any:
        """See Side; in float32, since sums over a picture leave float16's range."""
        return self.functional.gram_matrix(self.functional.cast(features, np.float32))

    def autocast(self) -> Any:
        """See Side."""
        return self._autocast()

    def descend(self, loss: Any, optimizer: Any) -> None:
        """See Side."""
        _descend(self._scaler, loss, optimizer)

    def recorded(self, run: Callable[[], Any]) -> Callable[[], Any]:
        """`run` as one CUDA graph."""
        from core.replay import graphed

        return graphed(run, self.device)

    def synchronize(self) -> None:
        """Wait until the GPU is done."""
        if self.device == "cuda":
            _cupy().cuda.runtime.deviceSynchronize()

    def release(self) -> None:
        """Give back what is not used any more."""
        gc.collect()
        if self.device == "cuda":
            _cupy().get_default_memory_pool().free_all_blocks()

    def product_tflops(self) -> float:
        """TFLOP/s of a large matrix product."""
        from core.device import bfloat16, to_device
        from core.kernels.cuda.product import matmul_into

        name = self.precision if self.precision in HALF else "float32"
        dtype = bfloat16() if name == "bfloat16" else np.dtype(name)
        a, b = (to_device(m, "cuda").astype(dtype) for m in _matrices())
        out = _cupy().empty(a.shape, dtype)
        return _tflops(lambda: matmul_into(a, b, out), self.synchronize)

    def versions(self) -> dict[str, str]:
        """What the figures depend on."""
        if self.device != "cuda":
            return {}
        cupy = _cupy()
        runtime = cupy.cuda.runtime
        driver, cuda = runtime.driverGetVersion(), runtime.runtimeGetVersion()
        return {
            "card": runtime.getDeviceProperties(0)["name"].decode(),
            "CuPy": cupy.__version__,
            "CUDA": f"{cuda // 1000}.{cuda % 1000 // 10}",
            "driver's CUDA": f"{driver // 1000}.{driver % 1000 // 10}",
        }


class PeerOnGpu(Peer):
    """PyTorch, contiguous or channels-last; `graph`: with optimisers that a graph can hold."""

    def __init__(
        self, precision: str, device: str, channels_last: bool, graph: bool = False
    ) -> None:
        super().__init__(os.cpu_count() or 1, channels_last)
        torch = self.torch
        fast = precision != "float32"
        torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = fast
        torch.backends.cudnn.benchmark = True
        self.device, self.precision = device, precision
        dtype = getattr(torch, precision) if precision in HALF else None
        self._autocast = partial(torch.autocast, device, dtype, enabled=dtype is not None)
        self._scaler = torch.amp.GradScaler(device) if precision == "float16" else None
        if graph and device == "cuda":
            self.optim = Capturable(torch.optim, fused=precision == "float16")

    def tensor(self, array: np.ndarray) -> Any:
        """See Side."""
        return super().tensor(array).to(self.device)

    def module(self, module: Any, std: float | None = None) -> Any:
        """See Side."""
        return super().module(module, std).to(self.device)

    def gram(self, features: Any) -> Any:
        """See Side; in float32, since sums over a picture leave float16's range."""
        with self.torch.autocast(self.device, enabled=False):
            return super().gram(features.float())

    def autocast(self) -> Any:
        """See Side."""
        return self._autocast()

    def descend(self, loss: Any, optimizer: Any) -> None:
        """See Side."""
        _descend(self._scaler, loss, optimizer)

    def recorded(self, run: Callable[[], Any]) -> Callable[[], Any]:
        """`run` as one CUDA graph."""
        cuda = self.torch.cuda
        if self.device != "cuda":
            return run
        stream = cuda.Stream()
        stream.wait_stream(cuda.current_stream())
        with cuda.stream(stream):
            for _ in range(3):
                run()
        cuda.current_stream().wait_stream(stream)
        graph = cuda.CUDAGraph()
        with cuda.graph(graph):
            run()
        return graph.replay

    def synchronize(self) -> None:
        """Wait until the GPU is done."""
        if self.device == "cuda":
            self.torch.cuda.synchronize()

    def release(self) -> None:
        """Give back what is not used any more."""
        gc.collect()
        if self.device == "cuda":
            self.torch.cuda.empty_cache()

    def product_tflops(self) -> float:
        """TFLOP/s of a large matrix product."""
        torch = self.torch
        dtype = getattr(torch, self.precision if self.precision in HALF else "float32")
        a, b = (torch.from_numpy(m).to(self.device, dtype) for m in _matrices())
        return _tflops(lambda: torch.mm(a, b), self.synchronize)

    def versions(self) -> dict[str, str]:
        """What the figures depend on."""
        torch = self.torch
        found = {"PyTorch": torch.__version__}
        if self.device == "cuda":
            found["PyTorch's cuDNN"] = str(torch.backends.cudnn.version())
        return found


class Capturable:
    """`torch.optim`, whose optimisers keep what they count on the GPU."""

    def __init__(self, package: Any, fused: bool) -> None:
        self._package, self._fused = package, fused

    def __getattr__(self, name: str) -> Any:
        settings: dict[str, bool] = {} if name == "SGD" else {"capturable": True}
        if self._fused and name != "RMSprop":
            settings["fused"] = True
        return partial(getattr(self._package, name), **settings)


def _descend(scaler: Any, loss: Any, optimizer: Any) -> None:
    if scaler is None:
        loss.backward()
        optimizer.step()
        return
    scaler.scale(loss).backward()
    scaler.step(optimizer)
    scaler.update()


def _cupy() -> Any:
    from core.device import cuda_module

    return cuda_module()


def _matrices() -> list[np.ndarray]:
    return [weights(name, (_SIDE, _SIDE)) for name in ("first", "second")]


def _tflops(run: Callable[[], Any], synchronize: Callable[[], None], calls: int = 10) -> float:
    for _ in range(3):
        run()
    synchronize()
    start = time.perf_counter()
    for _ in range(calls):
        run()
    synchronize()
    return 2e-12 * calls * _SIDE**3 / (time.perf_counter() - start)
