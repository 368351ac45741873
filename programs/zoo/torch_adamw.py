def train(w, g, m, v, lr):
    """AdamW with bias correction, as torch.optim.AdamW has it (Loshchilov and Hutter, arXiv 1711.05101).

    m = 0.9 m + 0.1 g
    v = 0.999 v + 0.001 g^2
    w <- w - lr ((m / (1 - 0.9^t)) / (sqrt(v / (1 - 0.999^t)) + 1e-8) + 0.01 w)
    """
    g2 = square(g)
    m = interp(g, m, 0.9)
    v = interp(g2, v, 0.999)
    t = get_step()
    c1 = power(0.9, t)
    c1 = 1.0 - c1
    c1 = reciprocal(c1)
    c2 = power(0.999, t)
    c2 = 1.0 - c2
    c2 = reciprocal(c2)
    m_hat = m * c1
    v_hat = v * c2
    sqrt_v = sqrt(v_hat)
    update = m_hat / sqrt_v
    wd = w * 0.01
    update = update + wd
    lr = lr * 0.001
    update = update * lr
    return update, m, v
