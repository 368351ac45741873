def train(w, g, m, v, lr):
    """LaProp: momentum of gradients that are divided by their root mean square first (Ziyin et al., arXiv 2002.04839).

    v = 0.999 v + 0.001 g^2
    m = 0.9 m + 0.1 g / (sqrt(v / (1 - 0.999^t)) + 1e-8)
    w <- w - lr (m / (1 - 0.9^t) + 0.01 w)

    The paper has the learning rate inside m, which is the same while it does not change.
    """
    g2 = square(g)
    v = interp(g2, v, 0.999)
    t = get_step()
    c2 = power(0.999, t)
    c2 = 1.0 - c2
    c2 = reciprocal(c2)
    v_hat = v * c2
    sqrt_v = sqrt(v_hat)
    ratio = g / sqrt_v
    m = interp(ratio, m, 0.9)
    c1 = power(0.9, t)
    c1 = 1.0 - c1
    c1 = reciprocal(c1)
    update = m * c1
    wd = w * 0.01
    update = update + wd
    lr = lr * 0.0004
    update = update * lr
    return update, m, v
