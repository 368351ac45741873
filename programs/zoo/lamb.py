def train(w, g, m, v, lr):
    """LAMB: the step of AdamW in each tensor as long as its weights (You et al., arXiv 1904.00962).

    m = 0.9 m + 0.1 g
    v = 0.999 v + 0.001 g^2
    U = (m / (1 - 0.9^t)) / (sqrt(v / (1 - 0.999^t)) + 1e-8) + 0.01 w
    w <- w - lr norm(w) / norm(U) U in each tensor; w - lr U where all weights are zero
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
    size = norm(update)
    length = norm(w)
    trust = length / size
    zero = sign(length)
    zero = 1.0 - zero
    trust = trust + zero
    update = update * trust
    lr = lr * 0.001
    update = update * lr
    return update, m, v
