def train(w, g, m, v, lr):
    """NAdam with bias correction and decoupled decay, as optax.nadamw has it (Dozat, 2016).

    m = 0.9 m + 0.1 g
    v = 0.999 v + 0.001 g^2
    ahead = 0.1 g / (1 - 0.9^t) + 0.9 m / (1 - 0.9^(t + 1))
    w <- w - lr (ahead / (sqrt(v / (1 - 0.999^t)) + 1e-8) + 0.01 w)

    torch.optim.NAdam also warms the momentum up, and corrects by the product of what it has been: a number that
    the language has nowhere to keep.
    """
    g2 = square(g)
    m = interp(g, m, 0.9)
    v = interp(g2, v, 0.999)
    t = get_step()
    c1 = power(0.9, t)
    c1 = 1.0 - c1
    c1 = reciprocal(c1)
    g_hat = g * c1
    next_t = t + 1.0
    c1 = power(0.9, next_t)
    c1 = 1.0 - c1
    c1 = reciprocal(c1)
    m_hat = m * c1
    ahead = interp(g_hat, m_hat, 0.9)
    c2 = power(0.999, t)
    c2 = 1.0 - c2
    c2 = reciprocal(c2)
    v_hat = v * c2
    sqrt_v = sqrt(v_hat)
    update = ahead / sqrt_v
    wd = w * 0.01
    update = update + wd
    lr = lr * 0.001
    update = update * lr
    return update, m, v
