def train(w, g, m, v, lr):
    """AdamW with Nesterov's look-ahead (Dozat, 2016), without bias correction; optax_nadamw has it."""
    g2 = square(g)
    m = interp(g, m, 0.9)
    v = interp(g2, v, 0.999)
    ahead = interp(g, m, 0.9)
    sqrt_v = sqrt(v)
    update = ahead / sqrt_v
    wd = w * 0.01
    update = update + wd
    lr = lr * 0.001
    update = update * lr
    return update, m, v
