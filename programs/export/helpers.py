"""Functions of exported files that rules call beyond those of torch and JAX: sums within tensors, and matrices."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping

from programs.ops import EPS, NEWTON_SCHULZ, NEWTON_SCHULZ_STEPS

_NEEDS = {  # the first function calls the others, if the language has them
    "_norm": ("_dot",),
    "_leaf_sum": ("_product",),
    "_row_sum": ("_product", "_settled"),
    "_column_sum": ("_product", "_settled"),
    "_leaf_mean": ("_leaf_sum",),
    "_row_mean": ("_row_sum",),
    "_column_mean": ("_column_sum",),
    "_orthogonalize": ("_sharded_like",),
}
_A, _B, _C = NEWTON_SCHULZ

_TORCH = {
    "_dot": '''
def _dot(x: Tensor, y: Tensor) -> Tensor:
    """The sum of products, in float32 at least."""
    dtype = torch.promote_types(x.dtype, torch.float32)
    return torch.sum(x.to(dtype) * y.to(dtype))
''',
    "_norm": """
def _norm(x: Tensor) -> Tensor:
    return torch.sqrt(_whole(_dot(x, x)))
""",
    "_product": '''
def _product(x: Tensor, *others: Tensor) -> Tensor:
    """The product, in float32 at least."""
    x = x.to(torch.promote_types(x.dtype, torch.float32))
    for other in others:
        x = x * other.to(x.dtype)
    return x
''',
    "_settled": '''
def _settled(x: Any) -> Tensor:
    """A sum along some axes; of a DTensor, what its shards have summed is added up."""
    if hasattr(x, "placements"):
        from torch.distributed.tensor import Replicate

        x = x.redistribute(placements=[Replicate() if p.is_partial() else p for p in x.placements])
    settled: Tensor = x
    return settled
''',
    "_leaf_sum": """
def _leaf_sum(*factors: Tensor) -> Tensor:
    return _whole(_product(*factors).sum())
""",
    "_leaf_mean": """
def _leaf_mean(*factors: Tensor) -> Tensor:
    return _leaf_sum(*factors) / factors[0].numel()
""",
    "_row_sum": '''
def _row_sum(*factors: Tensor) -> Tensor:
    """The sum of products along each row: over all axes but the first. A vector is one column."""
    x = _product(*factors)
    is_single = x.shape[1:].numel() == 1
    return x.clone() if is_single else _settled(x.sum(tuple(range(1, x.dim())), keepdim=True))
''',
    "_row_mean": """
def _row_mean(*factors: Tensor) -> Tensor:
    return _row_sum(*factors) / factors[0].shape[1:].numel()
""",
    "_column_sum": '''
def _column_sum(*factors: Tensor) -> Tensor:
    """The sum of products along each column: over the first axis."""
    x = _product(*factors)
    return x.clone() if x.shape[0] == 1 else _settled(x.sum(0, keepdim=True))
''',
    "_column_mean": """
def _column_mean(*factors: Tensor) -> Tensor:
    return _column_sum(*factors) / factors[0].shape[0]
""",
    "_spread": '''
def _spread(x: Tensor, like: Any) -> Tensor:
    """A value by rows or columns as a tensor of its own of the shape, and in the shards, of another."""
    tree: Any = x.expand_as(like).clone()
    spread: Tensor = tree.redistribute(placements=like.placements) if hasattr(like, "placements") else tree
    return spread
''',
    "_orthogonalize": f'''
def _orthogonalize(x: Tensor) -> Tensor:
    """The polar factor of the matrix [first axis, all others], scaled to an RMS of 1; of one row or column x / rms(x).

    By {NEWTON_SCHULZ_STEPS} steps of the quintic Newton-Schulz iteration, in float32 at least.
    """
    y = _whole(x)
    y = y.to(torch.promote_types(y.dtype, torch.float32)).reshape(y.shape[0], y.shape[1:].numel())
    rows, columns = y.shape
    y = y / (torch.linalg.vector_norm(y) + {EPS!r})
    if min(rows, columns) > 1:
        y = y.mT if rows > columns else y
        for _ in range({NEWTON_SCHULZ_STEPS}):
            squares = y @ y.mT
            y = torch.addmm(y, torch.addmm(squares, squares, squares, beta={_B}, alpha={_C}), y, beta={_A})
        y = y.mT if rows > columns else y
    return _sharded_like(x, (y * math.sqrt(max(rows, columns))).reshape(x.shape).to(x.dtype))
''',
    "_sharded_like": '''
def _sharded_like(x: Any, whole: Tensor) -> Tensor:
    """A tensor that all processes have as a whole, as a DTensor if x is one."""
    if not hasattr(x, "placements"):
        return whole
    from torch.distributed.tensor import DTensor, Replicate

    copies = DTensor.from_local(whole, x.device_mesh, [Replicate()] * x.device_mesh.ndim, run_check=False)
    return copies.redistribute(placements=x.placements)
''',
}

_JAX = {
    "_dot": '''
def _dot(x: Any, y: Any) -> Any:
    """The sum of products, in float32 at least."""
    dtype = jnp.promote_types(x.dtype, jnp.float32)
    return jnp.sum(x.astype(dtype) * y.astype(dtype))
''',
    "_norm": """
def _norm(x: Any) -> Any:
    return jnp.sqrt(_dot(x, x))
""",
    "_product": '''
def _product(x: Any, *others: Any) -> Any:
    """The product, in float32 at least."""
    x = x.astype(jnp.promote_types(x.dtype, jnp.float32))
    for other in others:
        x = x * other.astype(x.dtype)
    return x
''',
    "_leaf_sum": """
def _leaf_sum(*factors: Any) -> Any:
    return jnp.sum(_product(*factors))
""",
    "_leaf_mean": """
def _leaf_mean(*factors: Any) -> Any:
    return _leaf_sum(*factors) / factors[0].size
""",
    "_row_sum": '''
def _row_sum(*factors: Any) -> Any:
    """The sum of products along each row: over all axes but the first. A vector is one column."""
    x = _product(*factors)
    return jnp.sum(x, tuple(range(1, x.ndim)), keepdims=True)
''',
    "_row_mean": """
def _row_mean(*factors: Any) -> Any:
    rows = _row_sum(*factors)
    return rows / (factors[0].size / rows.size)
""",
    "_column_sum": '''
def _column_sum(*factors: Any) -> Any:
    """The sum of products along each column: over the first axis."""
    x = _product(*factors)
    return jnp.sum(x, 0, keepdims=True) if x.ndim else x
''',
    "_column_mean": """
def _column_mean(*factors: Any) -> Any:
    columns = _column_sum(*factors)
    return columns / (factors[0].size / columns.size)
""",
    "_spread": """
def _spread(x: Any, like: Any) -> Any:
    return jnp.broadcast_to(x, like.shape)
""",
    "_orthogonalize": f'''
def _orthogonalize(x: Any) -> Any:
    """The polar factor of the matrix [first axis, all others], scaled to an RMS of 1; of one row or column x / rms(x).

    By {NEWTON_SCHULZ_STEPS} steps of the quintic Newton-Schulz iteration, in float32 at least.
    """
    y = x.astype(jnp.promote_types(x.dtype, jnp.float32)).reshape(x.shape[0] if x.ndim else 1, -1)
    rows, columns = y.shape
    y = y / (jnp.sqrt(jnp.sum(y * y)) + {EPS!r})
    if min(rows, columns) > 1:
        y = y.T if rows > columns else y
        for _ in range({NEWTON_SCHULZ_STEPS}):
            squares = jnp.matmul(y, y.T, precision="highest")
            factor = {_B} * squares + {_C} * jnp.matmul(squares, squares, precision="highest")
            y = {_A} * y + jnp.matmul(factor, y, precision="highest")
        y = y.T if rows > columns else y
    return (y * max(rows, columns) ** 0.5).reshape(x.shape).astype(x.dtype)
''',
}


def torch_helpers(called: Collection[str]) -> Iterator[str]:
    """Yield the functions that are called by a rule, and those that these call."""
    return _texts(called, _TORCH)


def jax_helpers(called: Collection[str]) -> Iterator[str]:
    """Yield the same with JAX."""
    return _texts(called, _JAX)


def _texts(called: Collection[str], texts: Mapping[str, str]) -> Iterator[str]:
    wanted, stack = set[str](), list(called)
    while stack:
        name = stack.pop()
        wanted.add(name)
        stack += _NEEDS.get(name, ())
    return (text for name, text in texts.items() if name in wanted)
