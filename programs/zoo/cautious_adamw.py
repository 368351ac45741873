def train(w, g, m, v, lr):
    """AdamW that moves only weights whose momentum agrees with the gradient (Liang et al., arXiv 2411.16085).

    m, v as in AdamW with bias correction, and U = (m / (1 - 0.9^t)) / (sqrt(v / (1 - 0.999^t)) + 1e-8)
    mask = 1 where m g > 0, else 0
    w <- w - lr (U mask / max(mean(mask), 0.001) + 0.01 w), the mean in each tensor

    As the authors' code, but for the decay: theirs is of the weights after the step.
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
    mask = m * g
    mask = sign(mask)
    mask = maximum(mask, 0.0)
    share = rms(mask)
    share = square(share)
    share = maximum(share, 0.001)
    share = reciprocal(share)
    mask = mask * share
    update = update * mask
    wd = w * 0.01
    update = update + wd
    lr = lr * 0.001
    update = update * lr
    return update, m, v
