"""What make.py mixes: for each clip the recordings of speech and noise, where they come from, and the SNR.

All of them are kept out of training. Authors and licences are those of usr/share/doc/PACKAGE/copyright, and of the
tags of the music; packages of Debian 12.
"""

from __future__ import annotations

from dataclasses import dataclass

# From the most permissive to the strictest
LICENCES = {
    "CC0-1.0": ("CC0 1.0", "https://creativecommons.org/publicdomain/zero/1.0/"),
    "BSD-2-Clause": ("BSD 2-clause", "https://spdx.org/licenses/BSD-2-Clause.html"),
    "CC-BY-3.0": ("CC BY 3.0", "https://creativecommons.org/licenses/by/3.0/"),
    "CC-BY-SA-3.0": ("CC BY-SA 3.0", "https://creativecommons.org/licenses/by-sa/3.0/"),
    "GPL-2.0-or-later": ("GPL 2 or later", "https://www.gnu.org/licenses/old-licenses/gpl-2.0.html"),
}


@dataclass(frozen=True)
class Shelf:
    """Files of one package that have author and licence in common; ``folder`` may be a zip archive."""

    package: str
    folder: str
    author: str
    licence: str  # a key of LICENCES


@dataclass(frozen=True)
class Piece:
    """A part of a file, from ``start`` to ``stop`` (s)."""

    shelf: Shelf
    file: str
    start: float = 0.0
    stop: float | None = None


@dataclass(frozen=True)
class Clip:
    """A mixture: pieces of speech one after another, pieces of noise likewise or, for babble, all at once."""

    id: str
    speaker: str
    language: str
    noise: str
    snr: float  # dB
    speech_pieces: tuple[Piece, ...]
    noise_pieces: tuple[Piece, ...]
    at_once: bool = False


RUSSIAN = Shelf(
    "asterisk-core-sounds-ru-g722", "usr/share/asterisk/sounds/ru_RU_f_IvrvoiceRU",
    "Maxim Topal, <http://www.ivrvoice.ru>", "CC-BY-3.0",
)  # fmt: skip
HORIZONS = Shelf(
    "unknown-horizons", "usr/share/unknown-horizons/content/audio", "Unknown Horizons Team", "CC-BY-SA-3.0"
)
ESCHER = Shelf(HORIZONS.package, HORIZONS.folder, "Tobias Escher, Unknown Horizons Team", HORIZONS.licence)
SPHINX = Shelf(
    "pocketsphinx-testdata", "usr/share/pocketsphinx/test/data",
    "Carnegie Mellon University; Alpha Cephei Inc.", "BSD-2-Clause",
)  # fmt: skip
KART = "usr/share/games/supertuxkart/data/sfx"
BIRDS = Shelf(
    "supertuxkart-data", KART, "mpfeiffer, <https://freesound.org/people/mpfeiffer/sounds/115758/>", "CC0-1.0"
)
STADIUM = Shelf(
    "supertuxkart-data", KART, "jordiroquer, <https://freesound.org/people/jordiroquer/sounds/148153/>", "CC-BY-3.0"
)
PHONE = Shelf(
    "sound-theme-freedesktop", "usr/share/sounds/freedesktop/stereo", "Damien Sandras", "GPL-2.0-or-later"
)  # fmt: skip
RALLY = "usr/share/games/trigger-rally/data.zip"
ENGINE = Shelf("trigger-rally-data", RALLY, "Jasmine Langridge, Richard Langridge and others", "GPL-2.0-or-later")
RALLY_CC0 = Shelf("trigger-rally-data", RALLY, "kougloff, Iwan Gabovitch and others", "CC0-1.0")
TORCS = Shelf(
    "torcs-data", "usr/share/games/torcs/data/sound",
    "Eric Espié, Christophe Guionneau, Bernhard Wymann, Andrea Alfieri", "GPL-2.0-or-later",
)  # fmt: skip


def voice(language: str, number: int, start: float = 0.0, stop: float | None = None) -> Piece:
    return Piece(HORIZONS, f"voice/{language}/0/new_world/{number}.ogg", start, stop)


VOICES = (
    *(Piece(RUSSIAN, f"{name}.g722") for name in ("vm-next", "confbridge-begin-glorious-a")),
    *(voice("en", number, 0.7, 3.0) for number in (1, 3)),
    *(voice("fr", number) for number in (0, 3)),
    Piece(SPHINX, "numbers.raw", 0.4, 3.2), Piece(SPHINX, "cards/005.wav", 0.4, 3.2),
)  # fmt: skip

CLIPS = (
    Clip("ru-wind", "ru-ivrvoice", "ru", "wind", 0, (Piece(RUSSIAN, "privacy-prompt.g722"),),
         (Piece(RALLY_CC0, "sounds/wind.wav"),)),
    Clip("en-gravel", "en-horizons", "en", "gravel", 0, (voice("en", 2, 0.25, 3.6),),
         (Piece(RALLY_CC0, "sounds/gravel.wav"),)),
    Clip("en-engine", "en-sphinx-1", "en", "engine", 0, (Piece(SPHINX, "numbers.raw", 0.2, 3.5),),
         (Piece(ENGINE, "sounds/engine.wav"),)),
    Clip("de-crowd", "de-horizons", "de", "crowd", 5, (voice("de", 2, 0.1),),
         (Piece(STADIUM, "goal_scored.ogg", 0.5),)),
    Clip("fr-music", "fr-horizons", "fr", "music", 5, (voice("fr", 4),),
         (Piece(ESCHER, "music/uh_gameplay3.ogg", 8.0, 16.0),)),
    Clip("de-windmill", "de-horizons", "de", "windmill", 5, (voice("de", 3),),
         (Piece(HORIZONS, "sounds/windmill.ogg", 0.6),)),
    Clip("de-babble", "de-horizons", "de", "babble", 10, (voice("de", 1),), VOICES, at_once=True),
    Clip("en-phone", "en-sphinx-2", "en", "phone", 10,
         (Piece(SPHINX, "cards/002.wav", 0.7), Piece(SPHINX, "cards/003.wav"), Piece(SPHINX, "cards/001.wav")),
         (Piece(PHONE, "phone-incoming-call.oga"),)),
    Clip("en-skid", "en-sphinx-2", "en", "skid", 10, (Piece(SPHINX, "cards/005.wav", 0.2),),
         (Piece(TORCS, "out_of_road-3.wav"),)),
    Clip("ru-birds", "ru-ivrvoice", "ru", "birds", 15, (Piece(RUSSIAN, "vm-helpexit.g722"),),
         (Piece(BIRDS, "exotic-birds_2.ogg", 8.0),)),
    Clip("ru-music", "ru-ivrvoice", "ru", "music", 15, (Piece(RUSSIAN, "conf-waitforleader.g722"),),
         (Piece(ESCHER, "music/beware_the_ships_kobold.ogg", 8.0, 16.0),)),
    Clip("fr-bangs", "fr-horizons", "fr", "bangs", 15, (voice("fr", 1), voice("fr", 2)),
         (Piece(RALLY_CC0, "sounds/bang.wav"), Piece(RALLY_CC0, "sounds/gear.wav"))),
)  # fmt: skip

BSD_2_CLAUSE = """> Copyright 1995-2014 Carnegie Mellon University. All rights reserved. 2014-2015 Alpha Cephei Inc.
>
> Redistribution and use in source and binary forms, with or without modification, are permitted provided that the
> following conditions are met:
>
> 1. Redistributions of source code must retain the above copyright notice, this list of conditions and the following
>    disclaimer.
> 2. Redistributions in binary form must reproduce the above copyright notice, this list of conditions and the
>    following disclaimer in the documentation and/or other materials provided with the distribution.
>
> This work was supported in part by funding from the Defense Advanced Research Projects Agency and the National
> Science Foundation of the United States of America, and the CMU Sphinx Speech Consortium.
>
> THIS SOFTWARE IS PROVIDED BY CARNEGIE MELLON UNIVERSITY ``AS IS'' AND ANY EXPRESSED OR IMPLIED WARRANTIES, INCLUDING,
> BUT NOT LIMITED TO, THE IMPLIED WARRANTIES OF MERCHANTABILITY AND FITNESS FOR A PARTICULAR PURPOSE ARE DISCLAIMED. IN
> NO EVENT SHALL CARNEGIE MELLON UNIVERSITY NOR ITS EMPLOYEES BE LIABLE FOR ANY DIRECT, INDIRECT, INCIDENTAL, SPECIAL,
> EXEMPLARY, OR CONSEQUENTIAL DAMAGES (INCLUDING, BUT NOT LIMITED TO, PROCUREMENT OF SUBSTITUTE GOODS OR SERVICES; LOSS
> OF USE, DATA, OR PROFITS; OR BUSINESS INTERRUPTION) HOWEVER CAUSED AND ON ANY THEORY OF LIABILITY, WHETHER IN
> CONTRACT, STRICT LIABILITY, OR TORT (INCLUDING NEGLIGENCE OR OTHERWISE) ARISING IN ANY WAY OUT OF THE USE OF THIS
> SOFTWARE, EVEN IF ADVISED OF THE POSSIBILITY OF SUCH DAMAGE."""
