def train(w, g, m, v, lr):
    """NorMuon: Muon whose rows are divided by the root of their own mean square (Li et al., arXiv 2510.05491).

    m = 0.95 m + 0.05 g
    O = orthogonalize(m)
    v = 0.95 v + 0.05 row_mean(O^2), a number for each row
    N = O / (sqrt(v) + 1e-8)
    w <- w - lr (0.2 N / rms(N) + 0.1 w)

    A row is what feeds one neuron: the first axis of a weight of torch.nn.Linear.
    """
    m = interp(g, m, 0.95)
    update = orthogonalize(m)
    squares = square(update)
    rows = row_mean(squares)
    v = interp(rows, v, 0.95)
    sqrt_v = sqrt(v)
    update = update / sqrt_v
    size = rms(update)
    update = update / size
    update = update * 0.2
    wd = w * 0.1
    update = update + wd
    lr = lr * 0.001
    update = update * lr
    return update, m, v
