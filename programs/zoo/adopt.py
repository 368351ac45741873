def train(w, g, m, v, lr):
    """ADOPT: gradients over the second moment of the steps before, then momentum (Taniguchi et al., arXiv 2411.02853).

    first step: v = g^2, and no update
    m = 0.9 m + 0.1 c, where c = g / max(sqrt(v), 1e-6), cut to at most (t - 1)^(1/4) in size
    w <- w - lr (m + 0.01 w)
    v = 0.9999 v + 0.0001 g^2

    The authors' code has no weight decay in the first step.
    """
    t = get_step()
    later = t - 1.0
    sqrt_v = sqrt(v)
    sqrt_v = maximum(sqrt_v, 1e-06)
    sqrt_v = reciprocal(sqrt_v)
    ratio = g * sqrt_v
    bound = power(later, 0.25)
    ratio = minimum(ratio, bound)
    bound = negative(bound)
    ratio = maximum(ratio, bound)
    m = interp(ratio, m, 0.9)
    keep = sign(later)
    keep = keep * 0.9999
    g2 = square(g)
    v = interp(g2, v, keep)
    wd = w * 0.01
    update = m + wd
    lr = lr * 0.001
    update = update * lr
    return update, m, v
