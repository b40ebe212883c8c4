#!/usr/bin/env python3
"""Times other projects' gated delta kernels on the cases of `sluice bench ops gdn_prefill gdn_decode --device cuda:0`.

    bench_peers.py OUT.json [--peers flashinfer,flashqla,fla] [--only prefill|decode] [--case TEXT]...

Whichever of flashinfer-python, flash-qla and fla-core (with torch) is installed is measured; the rest is left out. The file goes beside
docs/performance/peers-nvidia-h200.json, named by its device, or to `sluice bench ops --peers`. For a fair ratio run both on one machine,
one after the other.

Inputs as in ops/gdn_chunk/bench_testing.h: K = V = 128, q, k (of length 1), v in bf16, gates and beta in fp32, an fp32 (or bf16) state that
is read and written. Each figure is the median of CUDA-graph replays over as many sets of inputs as exceed the L2 cache twice. A peer that
differs from the recurrence, or fails, has no figure.
"""

import argparse
import datetime
import importlib.metadata
import json
import statistics
import sys

import torch

HEADS = [(2, 8), (4, 16), (8, 32), (16, 64), (16, 32), (16, 48), (16, 16)]
SEQUENCES = {
    "1x2048": [2048],
    "1x8192": [8192],
    "1x32768": [32768],
    "8x1024": [1024] * 8,
    "8x4096": [4096] * 8,
    "64x256": [256] * 64,
    "mixed": [113, 1921, 64, 3000, 5, 777, 8192, 2048],
}
SWEEP = [(4, 256), (16, 256), (32, 256), (64, 256), (128, 256), (4, 1024), (32, 1024)]
DECODE_HEADS = [(16, 64), (16, 32), (4, 16)]
DECODE_BATCHES = [1, 8, 32, 64, 128, 256]
PACKAGES = {"flashinfer": "flashinfer-python", "flashqla": "flash-qla", "fla": "fla-core"}
DIM = 128
GRAPH_SECONDS, REPLAYS = 0.02, 9  # work in a graph; figures that the median is of
CHECKED_TOKENS = 200  # of the first sequence, against the recurrence
LIMIT = 8e-3  # relative RMS of a bf16 output


def normal(*shape):
    return torch.randn(*shape, device="cuda")


def unit(*shape):
    return torch.nn.functional.normalize(normal(*shape), dim=-1).bfloat16()


class Prefill:
    def __init__(self, hk, hv, lengths):
        tokens = sum(lengths)
        self.lengths = lengths
        self.q, self.k, self.v = unit(tokens, hk, DIM), unit(tokens, hk, DIM), normal(tokens, hv, DIM).bfloat16()
        self.log_g = -torch.nn.functional.softplus(normal(tokens, hv) - 3)
        self.beta = torch.sigmoid(normal(tokens, hv))
        self.state = 0.1 * normal(len(lengths), hv, DIM, DIM)  # [.., K, V]
        self.cu = torch.tensor([0, *lengths], device="cuda").cumsum(0)

    def bytes(self):
        return sum(t.nbytes for t in (self.q, self.k, self.v, self.v, self.log_g, self.beta, self.state, self.state))

    def recurrence(self):
        """Outputs of the first tokens of the first sequence, in fp32."""
        repeat = self.v.shape[1] // self.q.shape[1]
        state, rows = self.state[0].clone(), []
        for t in range(min(self.lengths[0], CHECKED_TOKENS)):
            k, q = (x[t].float().repeat_interleave(repeat, 0) for x in (self.k, self.q))
            state *= self.log_g[t].exp()[:, None, None]
            delta = self.beta[t][:, None] * (self.v[t].float() - torch.einsum("hkv,hk->hv", state, k))
            state += k[:, :, None] * delta[:, None, :]
            rows.append(torch.einsum("hkv,hk->hv", state, q) * DIM**-0.5)
        return torch.stack(rows)


def flashinfer_prefill(x):
    from flashinfer.gdn_prefill import chunk_gated_delta_rule

    alpha, cu, state = x.log_g.exp(), x.cu.int(), x.state.transpose(-1, -2).contiguous()
    out, final, longest = torch.empty_like(x.v), torch.empty_like(state), max(x.lengths)

    def run():
        chunk_gated_delta_rule(x.q, x.k, x.v, alpha, x.beta, None, state, True, cu, False, output=out, output_state=final, max_seqlen=longest)
        return out

    return run


def fla_prefill(x):
    from fla.ops.gated_delta_rule import chunk_gated_delta_rule

    cu = x.cu.long()
    return lambda: chunk_gated_delta_rule(
        x.q[None], x.k[None], x.v[None], x.log_g[None], x.beta[None], initial_state=x.state, output_final_state=True, cu_seqlens=cu
    )[0][0]


def flashqla_prefill(x):
    from flash_qla import chunk_gated_delta_rule

    cu = x.cu.int()
    return lambda: chunk_gated_delta_rule(
        x.q[None], x.k[None], x.v[None], x.log_g[None], x.beta[None], initial_state=x.state, output_final_state=True, cu_seqlens=cu,
        enable_fwd_cp_cache=False,
    )[0][0]  # fmt: skip


class Decode:
    def __init__(self, hk, hv, batch, dtype):
        self.q, self.k = unit(batch, 1, hk, DIM), unit(batch, 1, hk, DIM)
        self.v = normal(batch, 1, hv, DIM).bfloat16()
        self.a, self.b = normal(batch, 1, hv).bfloat16(), normal(batch, 1, hv).bfloat16()
        self.A_log, self.dt_bias = torch.rand(hv, device="cuda"), torch.rand(hv, device="cuda")
        self.state = (0.1 * normal(batch, hv, DIM, DIM)).to(dtype)  # [.., V, K]

    def bytes(self):
        return 2 * self.state.nbytes

    def recurrence(self):
        repeat = self.v.shape[2] // self.q.shape[2]
        q, k = (x[:, 0].float().repeat_interleave(repeat, 1) for x in (self.q, self.k))
        log_g = -self.A_log.exp() * torch.nn.functional.softplus(self.a[:, 0].float() + self.dt_bias)
        state = self.state.float() * log_g.exp()[..., None, None]
        delta = torch.sigmoid(self.b[:, 0].float())[..., None] * (self.v[:, 0].float() - torch.einsum("bhvk,bhk->bhv", state, k))
        state += delta[..., :, None] * k[..., None, :]
        return torch.einsum("bhvk,bhk->bhv", state, q) * DIM**-0.5


def flashinfer_decode(x):
    from flashinfer.gdn_decode import gated_delta_rule_decode_pretranspose

    out = torch.empty_like(x.v)

    def run():
        gated_delta_rule_decode_pretranspose(x.q, x.k, x.v, x.state, x.A_log, x.a, x.dt_bias, x.b, None, out, True)
        return out

    return run


PREFILL = {"flashinfer": flashinfer_prefill, "flashqla": flashqla_prefill, "fla": fla_prefill}
DECODE = {"flashinfer": flashinfer_decode}


def microseconds(runs):
    """Of one call; `runs` are the same call on different memory."""
    for run in runs[:3]:
        run()
    torch.cuda.synchronize()
    begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    begin.record(), runs[0](), end.record(), torch.cuda.synchronize()
    rounds = max(1, int(1e3 * GRAPH_SECONDS / max(begin.elapsed_time(end), 1e-2) / len(runs)))
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        for _ in range(rounds):
            for run in runs:
                run()
    graph.replay(), torch.cuda.synchronize()
    times = []
    for _ in range(REPLAYS):
        begin.record(), graph.replay(), end.record(), torch.cuda.synchronize()
        times.append(1e3 * begin.elapsed_time(end) / (rounds * len(runs)))
    return statistics.median(times)


@torch.no_grad()
def measure(cell, make, peers, names):
    l2 = torch.cuda.get_device_properties(0).L2_cache_size
    first = make()
    sets = [first] + [make() for _ in range(min(24, int(2 * l2 / first.bytes()) + 1))]
    want, us = first.recurrence(), {}
    for name in names:
        if name not in peers:
            continue
        try:
            got = peers[name](sets[0])().float()
            got = got.reshape(-1, *want.shape[1:])[: len(want)]
            error = ((got - want).norm() / want.norm()).item()
            if not error <= LIMIT:
                raise ValueError(f"differs from the recurrence by {error:.1e}")
            us[name] = round(microseconds([peers[name](s) for s in sets]), 2)
        except Exception as e:  # a peer that does not serve the case
            print(f"{cell} {name}: {type(e).__name__}: {str(e)[:160]}", file=sys.stderr)
    print(cell, us, flush=True)
    return {"cell": cell, "us": us}


def installed(names):
    versions = {}
    for name in names:
        try:
            versions[name] = f"{PACKAGES[name]} {importlib.metadata.version(PACKAGES[name])}"
        except importlib.metadata.PackageNotFoundError:
            print(f"{name}: {PACKAGES[name]} is not installed; left out", file=sys.stderr)
    return versions


def cases(only):
    prefill = [(hk, hv, label, lengths) for hk, hv in HEADS for label, lengths in SEQUENCES.items()]
    prefill += [(h, h, f"{b}x{t}", [t] * b) for h in (16, 32) for b, t in SWEEP if (h, b, t) != (16, 64, 256)]
    if only != "decode":
        for hk, hv, label, lengths in prefill:
            yield f"gdn_prefill/{hk},{hv}/{label}", PREFILL, lambda a=(hk, hv, lengths): Prefill(*a)
    if only != "prefill":
        for hk, hv in DECODE_HEADS:
            for dtype, text in ((torch.float32, "fp32"), (torch.bfloat16, "bf16")):
                for b in DECODE_BATCHES:
                    yield f"gdn_decode/{hk},{hv}/{text}/B{b}", DECODE, lambda a=(hk, hv, b, dtype): Decode(*a)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out")
    parser.add_argument("--peers", default=",".join(PACKAGES))
    parser.add_argument("--only", choices=["prefill", "decode"])
    parser.add_argument("--case", action="append", default=[], help="only cells whose name contains this, or one of several")
    args = parser.parse_args()
    versions = installed(args.peers.split(","))
    if not versions:
        sys.exit("bench_peers: none of the peers is installed; pip install flashinfer-python")
    result = {"device": torch.cuda.get_device_name(), "date": datetime.datetime.now(datetime.timezone.utc).date().isoformat(),
              "versions": versions, "cells": []}  # fmt: skip
    for cell, peers, make in cases(args.only):
        if args.case and not any(text in cell for text in args.case):
            continue
        result["cells"].append(measure(cell, make, peers, list(versions)))
        with open(args.out, "w") as f:  # after every cell: a run may be cut short
            json.dump(result, f, indent=1)


if __name__ == "__main__":
    main()
