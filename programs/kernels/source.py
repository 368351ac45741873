"""Update rules of many programs as one source text, in C and in CUDA C++.

The dialects differ in a prologue and an entry alone, which say how the places of a slice are shared out among threads,
how the threads of a block add up, and how blocks are numbered.
"""

from __future__ import annotations

from hashlib import sha256
from typing import NamedTuple

from programs.graph import INPUTS, W
from programs.kernels.rule import INDEX, KernelRule
from programs.kinds import TREE as TREE_KIND
from programs.phases import TREE
from programs.run.sharing import Skeletons

THREADS = 256  # of a block on the GPU


class Dialect(NamedTuple):
    """What stands before and after the text that all dialects have in common."""

    prologue: str
    entry: str


C = Dialect(
    """#include <math.h>
#define DEVICE static
#define CALLABLE static
#define RESTRICT restrict
#define EACH(i, first, end) for (int i = first; i < end; i++)
#define BLOCK_SUM(x) (x)
#define ONCE
""",
    """
void run_phase(const Batch *batch, int phase, const int *blocks, int count) {
    for (int k = 0; k < count; k++) run_block(batch, phase, blocks[k]);
}
""",
)

# Functions of dozens of instructions: called on the GPU, not copied to every use, which halves the time of compiling
# programs with many of them.
_LONG = (
    "cosf", "sinf", "tanf", "asinf", "acosf", "atanf", "sinhf", "coshf", "tanhf", "asinhf", "acoshf", "atanhf",
    "expm1f", "logf", "log2f", "log10f", "cbrtf",
)  # fmt: skip
_CALLED = "".join(f"CALLABLE float long_{name}(float x) {{ return {name}(x); }}\n" for name in _LONG)
_CALLED += "CALLABLE float long_powf(float x, float y) { return powf(x, y); }\n"
_CALLED += "".join(f"#define {name} long_{name}\n" for name in (*_LONG, "powf"))

CUDA = Dialect(
    f"""#define THREADS {THREADS}
#define DEVICE static __device__
#define CALLABLE static __device__ __noinline__
#define RESTRICT __restrict__
#define EACH(i, first, end) _Pragma("unroll 1") for (int i = first + (int)threadIdx.x; i < end; i += THREADS)
#define BLOCK_SUM(x) block_sum(x)
#define ONCE if (threadIdx.x == 0)

/* To be called by all threads of a block; all get the sum of their numbers, always added in the same order. */
CALLABLE double block_sum(double x) {{
    __shared__ double sums[THREADS];
    sums[threadIdx.x] = x;
    __syncthreads();
    for (int n = THREADS / 2; n > 0; n /= 2) {{
        if (threadIdx.x < n) sums[threadIdx.x] += sums[threadIdx.x + n];
        __syncthreads();
    }}
    const double sum = sums[0];
    __syncthreads();
    return sum;
}}

{_CALLED}""",
    """
extern "C" __global__ void __launch_bounds__(THREADS) run_phase(const Batch *batch, int phase) {
    run_block(batch, phase, (int)blockIdx.x);
}
""",
)

BATCH = (
    ("float *", "w"),  # [R, width]
    ("const float *", "g"),
    ("float *", "m"),  # [R, m_width]
    ("float *", "v"),  # [R, v_width]
    ("const float *", "rates"),  # [4] lr, scale, step and steps
    ("const float *", "constants"),  # [R, n_constants]
    ("double *", "partials"),  # [R, n_sums, n_slices] sums over slices
    ("float *", "handed"),  # what is handed over, and what comes back
    ("const long long *", "offsets"),  # [R, n_handed] where each begins
    ("const unsigned char *", "alive"),  # [R]
    ("const int *", "rule"),  # [R]
    ("const int *", "rows"),  # [R] those with most phases first
    ("const int *", "starts"),  # [n_slices + 1] where slices begin
    ("const int *", "leaf"),  # [n_slices] the leaf of each
    ("const int *", "heads"),  # [leaves + 1] the first slice of each leaf
    ("const int *", "row_of"),  # [P] the row of its leaf that each place belongs to, among those of all leaves
    ("const int *", "column_of"),  # [P] and the column
    ("long long ", "width"),
    ("long long ", "m_width"),
    ("long long ", "v_width"),
    ("long long ", "n_constants"),
    ("long long ", "n_sums"),
    ("long long ", "n_handed"),
    ("long long ", "n_slices"),
    ("long long ", "n_leaves"),
)
"""What a launch is told, in fields of 64 bits each."""

_FIELDS = "\n".join(f"    {kind}{name};" for kind, name in BATCH)
_COMMON = f"""
typedef struct {{
{_FIELDS}
}} Batch;

/* A slice of a row; the slices [head, next) are those of its leaf. */
typedef struct {{
    int first, end, slice, head, next, n_slices;
    double *partials;
    const float *rates, *constants;
    const long long *offsets;
    const Batch *batch;
}} Place;

#define RULE(name) CALLABLE void name( \\
    float *RESTRICT w_row, const float *RESTRICT g_row, float *RESTRICT m_row, float *RESTRICT v_row, const Place at)

CALLABLE float sum_of_slices(const double *partials, int first, int end) {{
    double sum = 0.0;
    EACH(k, first, end) sum += partials[k];
    return (float)BLOCK_SUM(sum);
}}

DEVICE float total(const Place at, int n) {{
    return sum_of_slices(at.partials + n * at.n_slices, 0, at.n_slices);
}}

DEVICE float leaf_total(const Place at, int n) {{
    return sum_of_slices(at.partials + n * at.n_slices, at.head, at.next);
}}

DEVICE float places(const Place at, int first, int end) {{
    return (float)(at.batch->starts[end] - at.batch->starts[first]);
}}

DEVICE float *handed(const Place at, int n) {{
    return at.batch->handed + at.offsets[n];
}}

DEVICE void give(const Place at, int n, double sum) {{
    ONCE at.partials[n * at.n_slices + at.slice] = sum;
}}
"""

_DISPATCH = """
DEVICE void run_block(const Batch *batch, int phase, int block) {{
    const int n_slices = (int)batch->n_slices, slice = block % n_slices, leaf = batch->leaf[slice];
    const long long row = batch->rows[block / n_slices];
    if (!batch->alive[row]) return;
    float *w = batch->w + row * batch->width, *m = batch->m + row * batch->m_width;
    float *v = batch->v + row * batch->v_width;
    const float *g = batch->g + row * batch->width;
    const Place at = {{
        batch->starts[slice], batch->starts[slice + 1], slice, batch->heads[leaf], batch->heads[leaf + 1], n_slices,
        batch->partials + row * batch->n_sums * n_slices, batch->rates, batch->constants + row * batch->n_constants,
        batch->offsets + row * batch->n_handed, batch,
    }};
    switch (batch->rule[row] * {phases} + phase) {{
{cases}
    }}
}}
"""


class Lent(NamedTuple):
    """Memory that a row needs between phases.

    Attributes:
        phase: after which the value of `code` is to be computed in it, in place.
        code: torch code, see `HandOver`; none for the new value of a state.
        kind: how wide the memory is.
    """

    phase: int
    code: str
    kind: int


class Source:
    """The rules of many programs. Programs that differ in constants alone have the same one.

    Which programs there are decides the text, not their order, their constants or how often each occurs.

    Attributes:
        rules: the number of the rule of each program.
        constants: of each program, in the order of its rule.
        phases: of each rule.
        n_sums: the most that a rule has.
        lent: of each rule, in the order of its numbers.
        states: of each rule, the kinds of the slots that are read or written.
        accesses: of each program, how many numbers of its rows are read and written for each weight, and how many are
            handed over.
    """

    def __init__(self, skeletons: Skeletons) -> None:
        structures = [(tuple(o.constants), tuple(o.outputs.items())) for o in skeletons.of_program]
        by_structure = dict(zip(structures, skeletons.of_program, strict=True))
        rules = {structure: KernelRule(skeletons, skeleton) for structure, skeleton in by_structure.items()}
        bodies = {s: tuple(_body(rule, phase) for phase in range(rule.phases)) for s, rule in rules.items()}
        self._bodies = sorted(bodies.values())
        numbers = {body: number for number, body in enumerate(self._bodies)}
        self.rules = [numbers[bodies[structure]] for structure in structures]
        self.constants = [tuple(c for cs in o.constants.values() for c in cs) for o in skeletons.of_program]
        of_body = {bodies[structure]: rule for structure, rule in rules.items()}
        self.phases = [len(body) for body in self._bodies]
        self.lent = [_lent(of_body[body]) for body in self._bodies]
        self.states = [of_body[body].states for body in self._bodies]
        self.n_sums = max(len(rule.sums) for rule in rules.values())
        touched = [sum(text.count("[i]") - text.count("_of[i]") for text in body) for body in self._bodies]
        self.accesses = [touched[rule] for rule in self.rules]

    def text(self, dialect: Dialect) -> str:
        """Return the whole source, whose entry is `run_phase`."""
        names = {(r, p): f"rule{r}_phase{p}" for r, body in enumerate(self._bodies) for p in range(len(body))}
        functions = [f"RULE({name}) {{\n{self._bodies[r][p]}\n}}\n" for (r, p), name in names.items()]
        most = max(self.phases)
        cases = [f"    case {r * most + p}: {name}(w, g, m, v, at); return;" for (r, p), name in names.items()]
        dispatch = _DISPATCH.format(phases=most, cases="\n".join(cases))
        return "\n".join([dialect.prologue + _COMMON, *functions]) + dispatch + dialect.entry

    def parts(self, number: int) -> list[list[int]]:
        """Share programs out among a number of sources of about equal length; fewer where there are fewer rules."""
        length = [sum(map(len, body)) for body in self._bodies]
        rules: list[list[int]] = [[] for _ in range(min(number, len(length)))]
        for rule in sorted(range(len(length)), key=lambda r: -length[r]):
            min(rules, key=lambda part: sum(length[r] for r in part)).append(rule)
        return [[i for i, rule in enumerate(self.rules) if rule in part] for part in rules]

    def key(self, dialect: Dialect, *options: str) -> str:
        """Return a name for the text compiled with these options: equal for equal text, in any process."""
        return sha256("\0".join([self.text(dialect), *options]).encode()).hexdigest()[:32]


def _body(rule: KernelRule, phase: int) -> str:
    """Return what one phase of a rule does with a slice: numbers first, then place by place, then sums."""
    before, inside, after = list[str](), list[str](), list[str]()
    for number in rule.needed(phase):
        value = rule.values[number]
        line = f"const float {value.name} = {rule.text(value.template, value.args)};"
        (inside if value.rank == TREE else before).append(line)
    for n in rule.sums_of(phase):
        pair = rule.sums[n]
        product = rule.product(pair)
        if any(rule.values[number].rank == TREE for number in pair):
            before.append(f"double sum{n} = 0.0;")
            inside.append(f"sum{n} += {product};")
            after.append(f"give(at, {n}, BLOCK_SUM(sum{n}));")
        else:  # one number for each leaf
            after.append(f"give(at, {n}, at.slice == at.head ? {product} : 0.0f);")
    for n in rule.handed_in(phase):
        code = " ".join(rule.handed[n].code.split())  # rules that differ in it alone are not the same
        inside.append(f"handed(at, {n})[i] = {rule.product(rule.handed[n].args)};  // {code}")
    inside += _writes(rule, phase)
    loop = ["EACH(i, at.first, at.end) {", *(f"    {line}" for line in inside), "}"] if inside else []
    return "\n".join(f"    {line}" for line in [*before, *loop, *after])


def _writes(rule: KernelRule, phase: int) -> list[str]:
    """Return how a phase writes outputs; the places of a row, or column, all write the same number to a small state."""
    lines = []
    for slot, number in rule.outputs.items() if phase == rule.last else ():
        name = rule.values[number].name
        target = f"handed(at, {rule.small[slot]})" if slot in rule.small else f"{INPUTS[slot]}_row"
        value = f"w - scale * {name}" if slot == W else name
        lines.append(f"{target}[{INDEX[rule.states.get(slot, TREE_KIND)]}] = {value};")
    for slot, n in rule.small.items() if phase > rule.last else ():
        index = INDEX[rule.states[slot]]
        lines.append(f"{INPUTS[slot]}_row[{index}] = handed(at, {n})[{index}];")
    return lines


def _lent(rule: KernelRule) -> list[Lent]:
    """Return the memory that a rule needs between phases."""
    phase_of = {n: phase for phase in range(rule.phases) for n in rule.handed_in(phase)}
    handed = [Lent(phase_of[n], value.code, TREE_KIND) for n, value in enumerate(rule.handed)]
    return handed + [Lent(rule.last, "", rule.states[slot]) for slot in rule.small]
