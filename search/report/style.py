"""Colours and dashes of the figures, by name: the page puts in those of Okabe and Ito for light and for dark."""

OURS, REFERENCE, THIRD, FOURTH, FIFTH, SIXTH = (f"$colour{n}" for n in range(6))
INK, MUTED, SOFT, GROUND = "$ink", "$muted", "$soft", "$ground"
RIVALS = (REFERENCE, THIRD, FOURTH, FIFTH, SIXTH)
DASHES = ("dash", "dot", "dashdot", "longdash", "longdashdot")  # besides colours, for people who cannot tell them apart
