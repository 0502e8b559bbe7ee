"""What people wear: outfits by chance, and the classes and cloth they put on each part of the body."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from .fabric import Fabric, random_cloth, random_denim, random_leather
from .figure import Cover, Drape
from .hair import Hat, random_hat
from .skeleton import Body

GLOVE, UPPER, DRESS, COAT, SOCKS, PANTS, JUMPSUIT, SCARF, SKIRT = 3, 5, 6, 7, 8, 9, 10, 11, 12


@dataclass(frozen=True)
class Top:
    """What covers the trunk and perhaps the arms.

    Args:
        label: class.
        fabric: its cloth.
        sleeve: share of the arm covered; 0 is sleeveless.
        loose: metres of cloth outside the skin.
        neckline: how far it is cut out in front, 0 (turtleneck) to 1.
        collar: it has a standing or turned-down collar.
        drape: its hanging part; None when tucked in or when it ends at the waist.
        buttons: it closes in front, with an edge or zip.
        emblem: cloth of a print on the chest.
    """

    label: int
    fabric: Fabric
    sleeve: float
    loose: float = 0.008
    neckline: float = 0.3
    collar: bool = False
    drape: Drape | None = None
    buttons: bool = False
    emblem: Fabric | None = None


@dataclass(frozen=True)
class Bottom:
    """What covers the hips and legs.

    Args:
        label: class.
        leg_end: share of the leg covered by trouser legs; 0 is none.
        loose, flare: metres of cloth at the thigh, and more at the end.
        waist: where it ends on the trunk, 0 crotch to 1 neck.
        drape: a skirt, hanging.
        bib: dungarees: a bib and straps over the top.
    """

    label: int
    fabric: Fabric
    leg_end: float
    loose: float = 0.008
    flare: float = 0.0
    waist: float = 0.36
    drape: Drape | None = None
    bib: bool = False


@dataclass(frozen=True)
class Footwear:
    """Shoes and socks.

    Args:
        fabric, sole: of the shoe; no fabric is barefoot.
        boot: share of the shin covered by the shoe.
        socks: their cloth, if any; ``sock_top`` is the share of the leg (0 hip, 1 ankle) where they end.
    """

    fabric: Fabric | None
    sole: Fabric
    boot: float = 0.0
    socks: Fabric | None = None
    sock_top: float = 0.9


@dataclass(frozen=True)
class Outfit:
    """Everything worn."""

    top: Top
    bottom: Bottom
    feet: Footwear
    coat: Top | None = None
    scarf: Fabric | None = None
    scarf_tail: bool = False
    gloves: Fabric | None = None
    hat: Hat | None = None
    hat_fabric: Fabric | None = None
    glasses: str = "none"

    def sleeve(self) -> tuple[int, Fabric, Cover | None]:
        """The class, cloth and shape of the outermost sleeve."""
        top = self.coat or self.top
        if top.sleeve <= 0:
            return top.label, top.fabric, None
        flare = 0.012 if top.sleeve < 0.6 else 0.004
        folds = 0.0 if top.sleeve < 0.6 else 0.0025
        return top.label, top.fabric, Cover(0.0, top.sleeve, top.loose, flare, folds)


def _random_top(rng: np.random.Generator, body: Body) -> Top:
    kind = float(rng.random())
    loose = float(rng.uniform(0.003, 0.018))
    bare = 0.14 if body.female else 0.07
    sleeve = 0.0 if kind < bare else float(rng.uniform(0.2, 0.46)) if kind < 0.55 else float(rng.uniform(0.93, 0.99))
    if sleeve > 0.9 and rng.random() < 0.18:
        sleeve = float(rng.uniform(0.58, 0.85))
    hem = float(rng.choice([-0.03, 0.0, 0.1, 0.16, 0.24]))
    shape = Drape(0.45, hem, loose + 0.008, float(rng.uniform(0.0, 0.02)), folds=float(rng.uniform(0, 0.006)))
    return Top(
        label=UPPER,
        fabric=random_cloth(rng, pattern=0.5),
        sleeve=sleeve,
        loose=loose,
        neckline=float(rng.choice([0.0, 0.2, 0.35, 0.6, 1.0], p=[0.06, 0.34, 0.3, 0.18, 0.12])),
        collar=bool(rng.random() < 0.3),
        drape=shape if rng.random() < 0.75 else None,
        buttons=bool(rng.random() < 0.3),
        emblem=random_cloth(rng, pattern=0.8) if rng.random() < 0.2 else None,
    )


def _random_coat(rng: np.random.Generator) -> Top:
    loose = float(rng.uniform(0.016, 0.032))
    hem = float(rng.choice([-0.02, 0.08, 0.16, 0.3, 0.48, 0.62], p=[0.15, 0.3, 0.25, 0.12, 0.12, 0.06]))
    gap = float(rng.uniform(0.12, 0.75)) if rng.random() < 0.6 else 0.0
    fabric = random_leather(rng) if rng.random() < 0.2 else random_cloth(rng, pattern=0.25)
    flare = 0.012 + 0.08 * max(hem - 0.2, 0)
    return Top(
        label=COAT,
        fabric=fabric,
        sleeve=float(rng.uniform(0.95, 1.0)) if rng.random() < 0.93 else 0.0,
        loose=loose * 0.85,
        neckline=0.0,
        collar=bool(rng.random() < 0.75),
        drape=Drape(0.985, hem, loose, flare, gap, float(rng.uniform(0.0, 0.006))),
        buttons=gap == 0,
    )


def _random_trousers(rng: np.random.Generator) -> Bottom:
    short = rng.random() < 0.3
    fabric = random_denim(rng) if rng.random() < 0.45 else random_cloth(rng, pattern=0.18)
    loose = float(rng.choice([0.003, 0.008, 0.016, 0.026]))
    return Bottom(
        label=PANTS,
        fabric=fabric,
        leg_end=float(rng.uniform(0.22, 0.56)) if short else float(rng.uniform(0.9, 1.0)),
        loose=loose,
        flare=float(rng.uniform(0.0, 0.02)) + (0.01 if short else 0.02 * (rng.random() < 0.3)),
        waist=float(rng.uniform(0.28, 0.42)),
    )


def _random_skirt(rng: np.random.Generator, label: int, fabric: Fabric, waist: float) -> Bottom:
    hem = float(rng.choice([0.24, 0.36, 0.48, 0.62, 0.9], p=[0.2, 0.3, 0.25, 0.15, 0.1]))
    hem *= float(rng.uniform(0.92, 1.06))
    wide = float(rng.uniform(0.005, 0.05 + 0.12 * hem))
    folds = float(rng.uniform(0.0, 0.02 + 0.08 * wide))
    shape = Drape(waist, hem, 0.01, wide, folds=folds, fold_count=int(rng.integers(6, 13)))
    return Bottom(label=label, fabric=fabric, leg_end=0.0, loose=0.006, waist=waist, drape=shape)


def _random_footwear(rng: np.random.Generator, body: Body, bare_legs: bool) -> Footwear:
    leather = random_leather(rng)
    sole = random_leather(rng)
    boots = rng.random() < (0.25 if body.female else 0.12)
    socks = random_cloth(rng, pattern=0.3) if rng.random() < (0.6 if bare_legs else 0.35) else None
    return Footwear(
        fabric=None if rng.random() < 0.06 else leather,
        sole=sole,
        boot=float(rng.uniform(0.2, 0.85)) if boots else 0.0,
        socks=socks,
        sock_top=float(rng.choice([0.56, 0.72, 0.85, 0.93], p=[0.25, 0.2, 0.35, 0.2])),
    )


def random_outfit(rng: np.random.Generator, body: Body) -> Outfit:
    """An outfit; the classes that are rare in photographs are worn more often than there."""
    top, draw = _random_top(rng, body), float(rng.random())
    skirts = 0.44 if body.female else 0.0
    if draw < skirts * 0.5:
        top = replace(top, label=DRESS, drape=None)
        bottom = _random_skirt(rng, DRESS, top.fabric, float(rng.uniform(0.4, 0.5)))
    elif draw < skirts:
        bottom = _random_skirt(rng, SKIRT, random_cloth(rng, pattern=0.4), float(rng.uniform(0.36, 0.46)))
        if top.drape is not None and rng.random() < 0.6:
            top = replace(top, drape=None)
    elif draw < skirts + 0.07:
        bottom = replace(_random_trousers(rng), label=JUMPSUIT, waist=0.5, bib=bool(rng.random() < 0.55))
        top = replace(top, drape=None)
        if not bottom.bib:
            top = replace(top, label=JUMPSUIT, fabric=bottom.fabric)
    else:
        bottom = _random_trousers(rng)
    cold = rng.random() < 0.3
    bare_legs = bottom.leg_end < 0.6
    return Outfit(
        top=top,
        bottom=bottom,
        feet=_random_footwear(rng, body, bare_legs),
        coat=_random_coat(rng) if rng.random() < (0.65 if cold else 0.2) else None,
        scarf=random_cloth(rng, pattern=0.5) if rng.random() < (0.22 if cold else 0.04) else None,
        scarf_tail=bool(rng.random() < 0.6),
        gloves=random_leather(rng) if rng.random() < (0.3 if cold else 0.08) else None,
        hat=random_hat(rng) if rng.random() < (0.45 if cold else 0.26) else None,
        hat_fabric=random_cloth(rng, pattern=0.3),
        glasses=str(rng.choice(["none", "clear", "sun"], p=[0.74, 0.12, 0.14])),
    )
