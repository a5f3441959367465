"""Makes neuro/testdata with nir, numpy and sanafe.

    python peer/golden_neuro.py          # needs nir, h5py, numpy, sanafe, and go

First the Go test writes its files (net.nir, mapped.cores, general.cores,
frames.json). Then
- nir reads net.nir, with its type check, and numpy evaluates it layer by layer;
- sanafe runs both core networks on its TrueNorth soma, one of its neurons for
  each of ours, one of its edges for each synapse of the axon that a neuron
  drives, and logs every spike. Its delays end below ours, so a delay of d ticks
  is a chain of d-1 relays there.
golden.json keeps the bits, the spikes and the sha256 of the files read.
"""
import datetime
import hashlib
import importlib.metadata
import json
import os
import subprocess
import tempfile

import nir
import numpy as np
import sanafe

ROOT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..")
OUT = os.path.join(ROOT, "neuro", "testdata")
RELAY_CORES = 8  # beside the network's and the sources' core; sanafe takes 1024 neurons a core
ABSOLUTE, LINEAR, HOLD, ALWAYS = range(4)

ARCH = """
architecture:
  name: mesh
  attributes: {{topology: mesh, width: {cores}, height: 1, link_buffer_size: 1, sync_model: fixed, latency_sync: 0.0}}
  tile:
    - name: tile[0..{last}]
      attributes: {{energy_north_hop: 0.0, latency_north_hop: 0.0, energy_east_hop: 0.0, latency_east_hop: 0.0,
                   energy_south_hop: 0.0, latency_south_hop: 0.0, energy_west_hop: 0.0, latency_west_hop: 0.0}}
      core:
        - name: core
          attributes: {{buffer_position: soma, buffer_inside_unit: false, max_neurons_supported: 1024}}
          axon_in:
            - name: in
              attributes: {{energy_message_in: 0.0, latency_message_in: 0.0}}
          synapse:
            - name: synapses
              attributes: {{model: current_based, energy_process_spike: 0.0, latency_process_spike: 0.0}}
          dendrite:
            - name: dendrites
              attributes: {{model: accumulator, energy_update: 0.0, latency_update: 0.0}}
          soma:
            - name: neuron
              attributes: &costs {{model: truenorth, energy_access_neuron: 0.0, latency_access_neuron: 0.0,
                           energy_update_neuron: 0.0, latency_update_neuron: 0.0, energy_spike_out: 0.0, latency_spike_out: 0.0}}
            - name: source[0..{inputs}]
              attributes: {{model: input, energy_access_neuron: 0.0, latency_access_neuron: 0.0,
                           energy_update_neuron: 0.0, latency_update_neuron: 0.0, energy_spike_out: 0.0, latency_spike_out: 0.0}}
          axon_out:
            - name: out
              attributes: {{energy_message_out: 0.0, latency_message_out: 0.0}}
"""


def bits(hexes, count):
    """Packed bits, the lowest first, as 0 and 1."""
    return np.unpackbits(np.frombuffer(bytes.fromhex(hexes), np.uint8), bitorder="little")[:count]


def packed(v):
    return np.packbits(v.reshape(-1).astype(np.uint8), bitorder="little").tobytes().hex()


def conv(node, x):
    """nir.Conv2d in float64 by its definition."""
    assert node.groups == 1 and tuple(node.dilation) == (1, 1)
    (sh, sw), (ph, pw) = node.stride, node.padding
    x = np.pad(x, ((0, 0), (ph, ph), (pw, pw)))
    o, _, kh, kw = node.weight.shape
    h, w = (x.shape[1] - kh) // sh + 1, (x.shape[2] - kw) // sw + 1
    y = np.zeros((o, h, w))
    for i in range(h):
        for j in range(w):
            y[:, i, j] = np.tensordot(node.weight, x[:, i * sh:i * sh + kh, j * sw:j * sw + kw], 3) + node.bias
    return y


def run_nir(graph, x):
    """Follows the edges from the input; returns each threshold node's bits."""
    following = dict(graph.edges)
    name, out = "input", []
    while name != "output":
        name = following[name]
        node = graph.nodes[name]
        kind = type(node).__name__
        if kind == "Conv2d":
            x = conv(node, x)
        elif kind == "Affine":
            x = node.weight @ x + node.bias
        elif kind == "Flatten":
            x = x.reshape(node.output_type["output"])
        elif kind == "Threshold":
            x = (x > node.threshold).astype(np.float64)
            out.append(packed(x))
        else:
            assert kind == "Output", kind
        assert tuple(x.shape) == tuple(node.output_type["output"]), name
    return out


def read_cores(path):
    """The tensors of a core file, which is a safetensors file."""
    raw = open(path, "rb").read()
    n = int.from_bytes(raw[:8], "little")
    head = json.loads(raw[8:8 + n])
    types = {"I32": "<i4", "I16": "<i2", "U8": "u1"}
    t = {}
    for name, e in head.items():
        if name != "__metadata__":
            a, b = e["data_offsets"]
            t[name] = np.frombuffer(raw[8 + n + a:8 + n + b], types[e["dtype"]]).reshape(e["shape"])
    return t, json.loads(head["__metadata__"]["lowbit.cores"])


def soma(values, reset):
    """Our neuron's parameters in sanafe's words: a spike at v >= threshold,
    else the reverse reset at v <= reverse_threshold."""
    leak, theta, floor, rest = (int(v) for v in values[:4])
    a = {"threshold": float(theta), "leak": float(leak), "leak_towards_zero": False, "reset": float(rest),
         "reset_mode": {ABSOLUTE: "hard", LINEAR: "soft", HOLD: "none", ALWAYS: "hard"}[reset],
         "reverse_threshold": float(floor), "reverse_reset_mode": "saturate", "force_soma_update": True}
    if reset == ALWAYS:  # every potential that does not spike is below the threshold by one or more
        a.update(reverse_threshold=float(theta - 1), reverse_reset_mode="hard", reverse_reset=float(rest))
    return a


def run_sanafe(path, frames):
    """Spikes of every tick as core*256+slot, sorted."""
    t, head = read_cores(path)
    counts, values, modes = t["core.neurons"], t["neuron.values"], t["neuron.modes"]
    first = np.concatenate([[0], np.cumsum(counts)])
    synapses = np.unpackbits(t["neuron.synapses"], axis=1, bitorder="little")
    with tempfile.NamedTemporaryFile("w", suffix=".yaml", delete=False) as f:
        f.write(ARCH.format(cores=len(counts) + 1 + RELAY_CORES, last=len(counts) + RELAY_CORES, inputs=head["inputs"] - 1))
    arch = sanafe.load_arch(f.name)
    os.unlink(f.name)
    cores = arch.cores()
    net = sanafe.Network()
    groups = []
    for c, n in enumerate(counts):
        g = net.create_neuron_group(f"core{c}", int(n), log_spikes=True, soma_hw_name="neuron")
        for k in range(n):
            i = first[c] + k
            g[k].set_attributes(soma_hw_name="neuron", model_attributes=soma(values[i], int(modes[i][0])), log_spikes=True)
            g[k].map_to_core(cores[c])
        groups.append(g)
    # A source spikes one step before the axons that it drives, so the first
    # frame must be empty and the others come a step earlier.
    x = np.array([bits(h, head["inputs"]) for h in frames], dtype=bool)  # [tick, input]
    assert not x[0].any()
    x = x[1:]
    sources = net.create_neuron_group("sources", head["inputs"], soma_hw_name="source[0]")
    for i in range(head["inputs"]):
        # An input unit of sanafe has one spike train: each source gets a unit.
        sources[i].set_attributes(soma_hw_name=f"source[{i}]", model_attributes={"spikes": [bool(v) for v in x[:, i]]})
        sources[i].map_to_core(cores[len(counts)])

    def drive(neuron, core, axon):
        kind = t["core.axon_type"][core][axon]
        for k in range(counts[core]):
            i = first[core] + k
            if synapses[i][axon]:
                neuron.connect_to_neuron(groups[core][k], {"weight": float(t["neuron.weights"][i][kind])})

    # A message reaches the soma one step after the spike: a delay of one tick.
    extra = [int(m[1]) - 1 if v[4] >= 0 else 0 for v, m in zip(values, modes)]
    relays = net.create_neuron_group("relays", max(1, sum(extra)), soma_hw_name="neuron")
    used = 0
    relay = {"threshold": 1.0, "reset_mode": "hard", "leak": 0.0, "reverse_threshold": -1.0, "force_soma_update": True}
    for k in range(max(1, sum(extra))):
        relays[k].set_attributes(soma_hw_name="neuron", model_attributes=relay)
        relays[k].map_to_core(cores[len(counts) + 1 + k % RELAY_CORES])
    for c, n in enumerate(counts):
        for k in range(n):
            i = first[c] + k
            if values[i][4] < 0:
                continue
            last = groups[c][k]
            for _ in range(extra[i]):
                last.connect_to_neuron(relays[used], {"weight": 1.0})
                last = relays[used]
                used += 1
            drive(last, int(values[i][4]), int(modes[i][2]))
    for i, core, axon in t["route"]:
        drive(sources[int(i)], int(core), int(axon))
    chip = sanafe.SpikingChip(arch)
    chip.load(net)
    out = []
    for step in chip.sim(len(frames), spike_trace=True)["spike_trace"]:
        fired = []
        for a in step:
            name, offset = str(a).split(".")
            fired.append(int(name.removeprefix("core")) * 256 + int(offset))
        out.append(sorted(fired))
    return out


def main():
    subprocess.run(["go", "test", "./neuro", "-run", "TestGoldenFilesAreOurs", "-update"], cwd=ROOT, check=True)
    frames = json.load(open(os.path.join(OUT, "frames.json")))
    graph = nir.read(os.path.join(OUT, "net.nir"))
    shape = graph.nodes["input"].output_type["output"]
    golden = {
        "header": {
            "command": "python peer/golden_neuro.py", "date": datetime.date.today().isoformat(), "seed": 20260301,
            "tools": {p: importlib.metadata.version(p) for p in ("nir", "h5py", "numpy", "sanafe")},
        },
        "files": {},
        "nir": [run_nir(graph, bits(h, np.prod(shape)).reshape(shape).astype(np.float64)) for h in frames["mapped"]],
        "spikes": {name: run_sanafe(os.path.join(OUT, name + ".cores"), frames[name]) for name in ("mapped", "general")},
    }
    for name in ("net.nir", "mapped.cores", "general.cores", "frames.json"):
        golden["files"][name] = hashlib.sha256(open(os.path.join(OUT, name), "rb").read()).hexdigest()
    with open(os.path.join(OUT, "golden.json"), "w") as f:
        json.dump(golden, f, separators=(",", ":"))
        f.write("\n")
    print({n: sum(map(len, s)) for n, s in golden["spikes"].items()}, "spikes")


if __name__ == "__main__":
    main()
