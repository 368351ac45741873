def train(w, g, m, v, lr):
    """Adafactor without momentum: second moments kept by rows and columns (Shazeer and Stern, arXiv 1804.04235).

    b = 1 - t^-0.8
    m = b m + (1 - b) row_mean(g^2), a number for each row
    v = b v + (1 - b) column_mean(g^2), a number for each column
    U = g / sqrt(m v / mean(m))
    w <- w - lr (max(0.001, rms(w)) U / max(1, rms(U)) + 0.01 w)

    This is torch.optim.Adafactor without its bound of lr by 1 / sqrt(t), and with 1e-8 added to sqrt(m) and sqrt(v). On
    a vector m v / mean(m) is the average of g^2 itself.
    """
    t = get_step()
    share = power(t, -0.8)
    keep = 1.0 - share
    g2 = square(g)
    rows = row_mean(g2)
    columns = column_mean(g2)
    m = interp(rows, m, keep)
    v = interp(columns, v, keep)
    sqrt_m = sqrt(m)
    sqrt_v = sqrt(v)
    mean = rms(sqrt_m)
    update = g / sqrt_m
    update = update * mean
    update = update / sqrt_v
    size = rms(update)
    size = maximum(size, 1.0)
    size = reciprocal(size)
    update = update * size
    size = rms(w)
    size = maximum(size, 0.001)
    update = update * size
    wd = w * 0.01
    update = update + wd
    lr = lr * 0.01
    update = update * lr
    return update, m, v
