"""Kernels as they are written for processors that this machine is not, or not only."""

import os
import subprocess
import sys
import textwrap

import pytest

pytestmark = pytest.mark.slow

PRETEND = """
    import llvmlite.binding as llvm

    class Features(dict):
        def flatten(self):
            return ",".join(("+" if there else "-") + name for name, there in self.items())

    def pretend(name, features):
        llvm.get_host_cpu_name = lambda: name
        llvm.get_host_cpu_features = lambda: Features(features)
"""
LOSS = """
    import numpy as np, pytensor, pytensor.tensor as pt, symrnn as sr

    def gradients(cell, implementation):
        x, mask = pt.dtensor3(), pt.dmatrix()
        h, _ = sr.unroll(cell, x, mask=mask, truncate_every=3, implementation=implementation)
        wrt = [x, *cell.params]
        f = sr.function([x, mask], [h, *pytensor.grad((h**3).sum(), wrt)])
        draw = np.random.default_rng(2)
        return f(draw.normal(size=(7, 40, 5)), draw.random((7, 40)) < 0.7)

    pytensor.config.floatX = "float64"
    for cell in (sr.LSTMCell, sr.GRUCell):
        cell = cell(5, 17, rng=np.random.default_rng(1))
        for a, b in zip(gradients(cell, "kernel"), gradients(cell, "scan"), strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-11)
"""


def run(program, tmp_path):
    flags = [os.environ.get("PYTENSOR_FLAGS"), f"base_compiledir={tmp_path}"]
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program)],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTENSOR_FLAGS": ",".join(filter(None, flags))},
    )
    assert not done.returncode, done.stderr
    return done.stdout.split()


@pytest.mark.parametrize(
    ("name", "without", "vector_bytes"),
    [
        ("x86-64-v3", ("avx512",), "32"),
        ("x86-64", ("avx", "fma", "f16c", "xop", "vaes", "vpclmulqdq"), "16"),
    ],
)
def test_older_processors_compute_the_same(name, without, vector_bytes, tmp_path):
    import llvmlite.binding as llvm

    features = llvm.get_host_cpu_features()
    if not features.get("avx2"):
        pytest.skip("this is an older processor, or another kind")
    left = {k: v and not k.startswith(without) for k, v in features.items()}
    start = f"{PRETEND}\n    pretend({name!r}, {left!r})\n"
    check = "\n    from symrnn.kernels.machine import VECTOR_BYTES\n    print(VECTOR_BYTES)\n"
    assert run(start + LOSS + check, tmp_path) == [vector_bytes]


def test_there_is_code_for_arm(tmp_path):
    program = (
        PRETEND
        + """
    pretend("cortex-a72", {"neon": True})
    llvm.initialize_all_targets()
    llvm.initialize_all_asmprinters()
    from symrnn.kernels import loop, machine, product, threads
    texts = []
    threads._triple = lambda: "aarch64"

    def load(text, names):
        texts.append(text() if callable(text) else text)
        return dict.fromkeys(names, 0)

    threads.load = product.load = load
    threads.function_at = lambda address: lambda job: None
    loop.load_kernel = lambda text: (texts.append(text), ("", None))[1]

    import numpy as np, pytensor.tensor as pt, symrnn as sr
    from pytensor.graph.traversal import ancestors
    from symrnn.kernels.recurrence import Recurrence
    h, _ = sr.unroll(sr.LSTMCell(3, 5, rng=np.random.default_rng(1)), pt.tensor3())
    (op,) = {v.owner.op for v in ancestors([h]) if v.owner and isinstance(v.owner.op, Recurrence)}
    loop.load_forward(op.rows, "float32", ())
    loop.load_backward(op.rows, "float32", (), from_outside=True, truncate_every=2)
    triple = "aarch64-unknown-linux-gnu"
    arm = llvm.Target.from_triple(triple).create_target_machine(cpu="cortex-a72", opt=3)
    for text in texts:
        module = llvm.parse_assembly(text)
        module.triple = triple
        module.verify()
        options = llvm.create_pipeline_tuning_options(speed_level=2)
        builder = llvm.create_pass_builder(arm, options)
        builder.getModulePassManager().run(module, builder)
        print(arm.emit_assembly(module).count("fmla"))
"""
    )
    _, product, forward, backward = map(int, run(program, tmp_path))
    assert product > 100
    assert min(forward, backward) > 0
