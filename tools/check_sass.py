#!/usr/bin/env python3
"""Fails when a GPU kernel's machine code is not what its source means.

    check_sass.py BUILD_DIR

- gdn_prefill, gqa_prefill, mla_prefill, mla_decode and index_logits for Hopper hold warpgroup matrix instructions (HGMMA), and
  gdn_prefill for Blackwell, where it exists, tensor-memory ones (UTC*MMA): in every machine code of the file;
- no kernel of HOT spills registers to local memory (LDL, STL);
- every kernel for sm_90 and newer keeps the rules of programmatic dependent launch: it waits for the kernel before it (ACQBULK) ahead
  of all its accesses to global memory but for the READS_EARLY, reads nothing through the cache that does not see other kernels' writes
  (LDG.CONSTANT), and does not let the next kernel start (PREEXIT) ahead of its own wait.

Needs cuobjdump and nvdisasm, from the CUDA toolkit or the wheels nvidia-cuda-cuobjdump and nvidia-cuda-nvdisasm. Exit code 77: nothing
was checked.
"""

import collections
import os
import pathlib
import re
import shutil
import subprocess
import sys

# Operators whose kernels take most of a step.
HOT = {"gdn_prefill", "gdn_chunk", "gdn_decode", "gdn_decode_classic", "gdn_verify", "gdn_step", "gqa_prefill", "mla_prefill",
       "qkv_conv_split"}
# What the machine code of a file must hold at least once.
WANTED = {
    ("gdn_prefill", "sm90"): r"\bHGMMA\b",
    ("gdn_prefill", "sm100"): r"\bUTC\w*MMA\b",
    ("gqa_prefill", "sm90"): r"\bHGMMA\b",
    ("index_logits", "sm90"): r"\bHGMMA\b",
    ("mla_decode", "sm90"): r"\bHGMMA\b",
    ("mla_prefill", "sm90"): r"\bHGMMA\b",
}
SPILL = re.compile(r"\s(LDL|STL)\b")

# Operators that read ahead of the wait, and what: weights, which no kernel of a chain writes, or hints. A hint is a slot or position,
# read past the first-level cache to bring what lies behind it nearer, and read again behind the wait.
READS_EARLY = {
    "causal_conv1d": "taps",
    "fused_a_gemm": "weights and their scales",
    "gdn_chunk": "hints",
    "gdn_decode_classic": "hints",
    "gdn_step": "taps, A_log, dt_bias, the norm's weight; hints",
    "matmul": "weights",
    "moe_gate": "bias",
    "qkv_conv_split": "taps, A_log, dt_bias",
    "rmsnorm": "the norm's weight",
    "rope": "frequencies",
    "router_gemm": "weights",
}
FIRST_WITH_WAIT = 90  # sm_90
# Global memory: ordinary loads and stores, atomics, the copy engine's (UTMA*, UBLKCP, UBLKPF).
READ = re.compile(r"\s(LDG|LDGSTS|UTMALDG|UBLKCP\.S\.G|UBLKPF|UTMAPF)\b")
WRITE = re.compile(r"\s(STG|RED|ATOM|ATOMG|UTMASTG|UTMAREDG|UBLKCP\.G\.S|UBLKRED)\b")
CONSTANT = re.compile(r"\sLDG\S*\.CONSTANT")
NOT_CHECKED = 77


def find_tool(name):
    return shutil.which(name, path=os.pathsep.join([os.environ.get("PATH", ""), "/usr/local/cuda/bin"]))


def disassemble(cuobjdump, obj):
    """(architecture, kernel) -> its lines."""
    folder = os.path.dirname(find_tool("nvdisasm"))
    env = {**os.environ, "PATH": os.environ.get("PATH", "") + os.pathsep + folder}
    text = subprocess.run([cuobjdump, "-sass", str(obj)], capture_output=True, text=True, check=True, env=env).stdout
    arch, lines, kernels = "", [], {}
    for line in text.splitlines():
        if m := re.match(r"\s*arch = (\S+)", line):
            arch = m[1]
        elif m := re.match(r"\s*Function : (\S+)", line):
            lines = kernels.setdefault((arch, m[1]), [])
        else:
            lines.append(line)
    return kernels


def plain(name):
    """The kernel's name as in the source."""
    text = subprocess.run(["c++filt", "-p", name], capture_output=True, text=True, check=True).stdout.strip()
    return text.replace("(anonymous namespace)::", "").replace("sluice::", "")


def launch_problems(op, lines):
    """In the order of addresses, which is that of time but for what the compiler moved out of line, behind the end."""

    def places(pattern):
        return [i for i, line in enumerate(lines) if re.search(pattern, line)]

    waits, starts, reads, writes = places(r"\sACQBULK\b"), places(r"\sPREEXIT\b"), places(READ), places(WRITE)
    if not waits:
        yield "does not wait for the kernel before it"
        return
    if any(i < waits[0] for i in writes):
        yield "writes to global memory ahead of its wait"
    if op not in READS_EARLY and any(i < waits[0] for i in reads):
        yield "reads global memory ahead of its wait"
    if places(CONSTANT):
        yield "reads through a cache that does not see other kernels' writes: a const __restrict__ or __ldg is left"
    if any(i < waits[0] for i in starts):
        yield "lets the next kernel start ahead of its own wait"


def problems(op, kind, kernels):
    by_arch = collections.defaultdict(list)
    for (arch, kernel), lines in kernels.items():
        by_arch[arch] += lines
        spills = sum(bool(SPILL.search(line)) for line in lines)
        if spills and op in HOT:
            yield f"{arch}: {plain(kernel)} spills registers: {spills} accesses to local memory"
        if int(re.search(r"\d+", arch)[0]) >= FIRST_WITH_WAIT:
            for problem in launch_problems(op, lines):
                yield f"{arch}: {plain(kernel)} {problem}"
    wanted = WANTED.get((op, kind))
    for arch, lines in sorted(by_arch.items()):
        if wanted and not any(re.search(wanted, line) for line in lines):
            yield f"{arch}: holds no {wanted}"


def main():
    cuobjdump = find_tool("cuobjdump")
    if not cuobjdump or not find_tool("nvdisasm"):
        print("sass: NOT CHECKED: cuobjdump or nvdisasm is missing; install the CUDA toolkit's, or pip install nvidia-cuda-cuobjdump "
              "nvidia-cuda-nvdisasm, and put them on the PATH")
        return NOT_CHECKED
    objects = sorted(pathlib.Path(sys.argv[1]).rglob("ops/*/*.cu.o"))
    bad, count = 0, 0
    for obj in objects:
        op, kind = obj.parent.name, re.match(r"[a-z0-9]+", obj.name)[0]
        kernels = disassemble(cuobjdump, obj)
        count += len(kernels)
        # A file's helpers may lie beside it (sm90_plan.cu): only the one that carries the kernel's name must hold the instructions.
        for problem in problems(op, kind if obj.name == f"{kind}.cu.o" else "", kernels):
            print(f"{op}/{obj.name[:-2]}: {problem}")
            bad += 1
    print(f"sass: {count} kernels in {len(objects)} objects, {bad} problems")
    return 1 if bad or not count else 0


if __name__ == "__main__":
    sys.exit(main())
