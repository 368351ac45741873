def train(w, g, m, v, lr):
    """Muon: Nesterov momentum, orthogonalized (Jordan et al., 2024; scaled as in Liu et al., arXiv 2502.16982).

    m = 0.95 m + 0.05 g
    O = orthogonalize(0.95 m + 0.05 g)
    w <- w - lr (0.2 O + 0.1 w)

    On matrices this is torch.optim.Muon(adjust_lr_fn="match_rms_adamw"), which iterates in bfloat16. O has the RMS of a
    sign; 0.2 makes updates about as large as AdamW's. Muon is meant for hidden matrices; this program treats all
    matrices so, and divides vectors by their RMS.
    """
    m = interp(g, m, 0.95)
    ahead = interp(g, m, 0.95)
    update = orthogonalize(ahead)
    update = update * 0.2
    wd = w * 0.1
    update = update + wd
    lr = lr * 0.001
    update = update * lr
    return update, m, v
