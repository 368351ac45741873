def train(w, g, m, v, lr):
    """RAdam: Adam once the variance of 1 / sqrt(v) is bounded, momentum before (Liu et al., arXiv 1908.03265).

    m = 0.9 m + 0.1 g
    v = 0.999 v + 0.001 g^2
    rho = 1999 - 2 t 0.999^t / (1 - 0.999^t), which is 1999 in the limit
    r = sqrt((rho - 4) (rho - 2) 1999 / ((1999 - 4) (1999 - 2) rho))
    update = m / (1 - 0.9^t) if rho <= 5, else r m / (1 - 0.9^t) sqrt(1 - 0.999^t) / (sqrt(v) + 1e-8)
    w <- w - lr (update + 0.01 w)

    This is torch.optim.RAdam with decoupled decay; the paper compares rho with 4. Powers of 0.999 are written as
    exponentials of 0.0010005 t: float32 has not enough digits of 1 - 0.999^t to tell when rho passes 5.
    """
    g2 = square(g)
    m = interp(g, m, 0.9)
    v = interp(g2, v, 0.999)
    t = get_step()
    c1 = power(0.9, t)
    c1 = 1.0 - c1
    c1 = reciprocal(c1)
    m_hat = m * c1
    age = t * 0.0010005003335835335
    growth = expm1(age)
    growth = reciprocal(growth)
    fresh = t * 2.0
    fresh = fresh * growth
    rho = 1999.0 - fresh
    factor = rho - 4.0
    more = rho - 2.0
    factor = factor * more
    more = reciprocal(rho)
    factor = factor * more
    factor = factor * 0.0005017551389741254
    age = negative(age)
    c2 = expm1(age)
    factor = factor * c2
    factor = sqrt(factor)
    sqrt_v = sqrt(v)
    adaptive = m_hat / sqrt_v
    adaptive = adaptive * factor
    known = rho - 5.0
    known = sign(known)
    known = maximum(known, 0.0)
    update = interp(m_hat, adaptive, known)
    wd = w * 0.01
    update = update + wd
    lr = lr * 0.001
    update = update * lr
    return update, m, v
