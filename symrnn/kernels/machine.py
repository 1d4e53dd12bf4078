"""From LLVM's language to functions that one can call: compiles it once and keeps it on disk.

A kernel is a text in LLVM's language, which the neighbouring modules write. `load` compiles it for
this machine's processor, which takes a fraction of a second, and keeps the machine code in
PyTensor's folder for compiled code, under a name made of all that it depends on. Every process,
also the one that compiled it, runs the code as it is in the file: so the same numbers come out each
time.
"""

import ctypes
import os
from collections.abc import Callable
from contextlib import suppress
from ctypes.util import find_library
from functools import cache
from hashlib import sha256
from pathlib import Path

import llvmlite
import llvmlite.binding as llvm
import pytensor

from symrnn._files import replacing

llvm.initialize_native_target()
llvm.initialize_native_asmprinter()
_FEATURES = llvm.get_host_cpu_features()
VECTOR_BYTES = 64 if _FEATURES.get("avx512f") else 32 if _FEATURES.get("avx2") else 16
"""How many bytes the processor works on at a time: with AVX-512, with AVX2, or with SSE and ARM."""
N_REGISTERS = 16 if _FEATURES.get("sse2") and VECTOR_BYTES < 64 else 32
"""How many vectors the processor holds."""


@cache
def n_threads() -> int:
    """How many threads a kernel may use: one for each processor, at most ``OMP_NUM_THREADS``."""
    if os.name != "posix":  # a kernel starts its threads by pthread_create
        return 1
    affinity = getattr(os, "sched_getaffinity", None)
    n = len(affinity(0)) if affinity else os.cpu_count() or 1
    with suppress(ValueError):
        n = min(n, int(os.environ.get("OMP_NUM_THREADS", n)))
    return max(1, min(n, 64))


def load_kernel(text: str) -> tuple[str, Callable[[int], None]]:
    """Compile a module with a function ``kernel``; return its symbol, and a function to call it.

    The symbol is a name by which other compiled code may call it.
    """
    symbol = f"symrnn_{sha256(text.encode()).hexdigest()}"
    address = load(text.replace('@"kernel"', f'@"{symbol}"'), (symbol,))[symbol]
    return symbol, function_at(address)


def function_at(address: int) -> Callable[[int], None]:
    """Return a function that calls a kernel; other threads of Python run meanwhile."""
    return ctypes.CFUNCTYPE(None, ctypes.c_void_p)(address)


@cache
def load(text: str | Callable[[], str], names: tuple[str, ...]) -> dict[str, int]:
    """Return the addresses of functions, compiled or from disk.

    Parameters
    ----------
    text
        A module in LLVM's language. If it takes long to write, a function that returns it and that
        needs nothing but the names and what stands in this folder: it is called only if there is
        no code on disk.
    names
        The functions; other kernels may call them by these names from then on.
    """
    if callable(text) and not _source_code():
        text = text()
    machine = llvm.Target.from_default_triple().create_target_machine(
        cpu=llvm.get_host_cpu_name(), features=_FEATURES.flatten(), opt=3, jit=True
    )
    content = (_source_code(), names) if callable(text) else text
    depends_on = (content, machine.triple, llvm.get_host_cpu_name(), _FEATURES.flatten())
    key = sha256(repr((*depends_on, llvmlite.__version__)).encode()).hexdigest()
    path = Path(str(pytensor.config.base_compiledir)) / "symrnn" / f"{key}.o"
    code = _read(path)
    if code is None:
        code = _compiled(text() if callable(text) else text, machine)
        # where nothing can be written, the next process compiles again
        with suppress(OSError), replacing(path) as file:
            file.write(sha256(code).digest() + code)
    engine = llvm.create_mcjit_compiler(llvm.parse_assembly(""), machine)
    engine.add_object_file(llvm.ObjectFileRef.from_data(code))
    engine.finalize_object()
    addresses = {name: engine.get_function_address(name) for name in names}
    engine.detach()  # its code is in use, also by threads, until the process ends
    for name, address in addresses.items():
        llvm.add_symbol(name, address)
    return addresses


@cache
def declare_c_function(name: str) -> None:
    """Let kernels call a function of the C library, such as ``"expf"``."""
    for library in (None, find_library("m"), find_library("c")):
        try:
            function = getattr(ctypes.CDLL(library), name)
        except (OSError, AttributeError, TypeError):
            continue
        llvm.add_symbol(name, ctypes.cast(function, ctypes.c_void_p).value)
        return
    raise OSError(f"the C library has no {name}")


@cache
def _source_code() -> bytes:
    """All modules of this folder, or nothing where they are not files of their own."""
    return b"".join(path.read_bytes() for path in sorted(Path(__file__).parent.glob("*.py")))


def _read(path: Path) -> bytes | None:
    """The machine code in a file, if it is whole."""
    try:
        content = path.read_bytes()
    except OSError:
        return None
    checksum, code = content[:32], content[32:]
    return code if sha256(code).digest() == checksum else None


def _compiled(text: str, machine: llvm.TargetMachine) -> bytes:
    module = llvm.parse_assembly(text)
    module.verify()
    options = llvm.create_pipeline_tuning_options(speed_level=2)
    options.loop_unrolling = options.loop_vectorization = options.slp_vectorization = False
    builder = llvm.create_pass_builder(machine, options)
    builder.getModulePassManager().run(module, builder)
    return bytes(machine.emit_object(module))
