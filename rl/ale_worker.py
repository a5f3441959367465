"""Runs Atari 2600 games for lowbit, one process, any number of games.

Started as `python3 -c <this text>`. Speaks on stdin and stdout, little endian,
messages of  u32 length of the rest | u8 type | payload.

    in   1 HELLO  JSON {version, game, n, seeds, sticky, colour, codes, screens}
         2 RESET  n x u32 seed: load the games anew
         3 STEP   n x (u8 action, u8 repeat); action 255 restarts the game,
                  repeat 0 leaves it alone
         4 CLOSE
    out 16 READY  JSON {version, height, width, minimal, legal, names, md5, ale,
                  palette}; palette has a row code, r, g, b, gray for each colour,
                  or none: then screens are not codes
        17 OBS    for each game with repeat > 0, in order: f32 reward, u8 over,
                  u8 lives, u16 frames played, then the last frame but one, if
                  screens is 2, and the last frame, each height x width bytes of
                  codes; without a palette of gray, or x 3 of RGB
        18 DONE   answer to RESET
        19 ERROR  JSON {kind, text}

Logs go to stderr. Needs numpy and ale-py; ale-py stays inside this process.
"""

import difflib
import json
import os
import signal
import struct
import sys
import tempfile

VERSION = 3
HELLO, RESET, STEP, CLOSE = 1, 2, 3, 4
READY, OBS, DONE, ERROR = 16, 17, 18, 19
RESTART = 255
HEAD, RESULT = struct.Struct("<IB"), struct.Struct("<fBBH")


class Refused(Exception):
    def __init__(self, kind, text):
        super().__init__(text)
        self.kind = kind


class Pipe:
    """Owns stdin and stdout; whatever else prints goes to stderr."""

    def __init__(self):
        self.source, self.sink = os.dup(0), os.dup(1)
        self.rest = b""  # received, of the next message
        os.dup2(2, 1)
        try:  # room for a whole message, Linux only
            import fcntl

            for fd in (self.source, self.sink):
                fcntl.fcntl(fd, 1031, 1 << 20)
        except (ImportError, OSError):
            pass

    def exactly(self, n):
        """n bytes, or None at the end; one read takes a whole message."""
        while len(self.rest) < n:
            part = os.read(self.source, 1 << 16)
            if not part:
                return None
            self.rest += part
        data, self.rest = self.rest[:n], self.rest[n:]
        return data

    def receive(self):
        head = self.exactly(5)
        if head is None:
            return CLOSE, b""
        size, kind = HEAD.unpack(head)
        body = self.exactly(size - 1)
        return (CLOSE, b"") if body is None else (kind, body)

    def put(self, data):
        view = memoryview(data)
        while view:
            view = view[os.write(self.sink, view) :]

    def send(self, kind, payload=b""):
        self.put(HEAD.pack(len(payload) + 1, kind) + payload)


def load(hello):
    """Imports the emulator and finds the game's cartridge."""
    try:
        import numpy
        import ale_py
        from ale_py import roms
    except ImportError as e:
        raise Refused("package", str(e))
    names = sorted(roms.get_all_rom_ids())
    if hello["game"] not in names:
        near = difflib.get_close_matches(hello["game"], names, 3, 0.6)
        if near:
            raise Refused("game", "did you mean %s? The emulator has %d games" % (" or ".join(near), len(names)))
        raise Refused("game", "want one of " + ", ".join(names))
    return numpy, ale_py, str(roms.get_rom_path(hello["game"]))


class Game:
    def __init__(self, ale_py, path, sticky, seed):
        self.ale_py, self.path, self.sticky = ale_py, path, sticky
        self.start(seed)

    def start(self, seed):
        ale = self.ale_py.ALEInterface()
        ale.setLoggerMode(self.ale_py.LoggerMode.Error)
        ale.setInt("random_seed", seed)
        ale.setFloat("repeat_action_probability", self.sticky)
        ale.setInt("frame_skip", 1)
        ale.loadROM(self.path)
        self.ale = ale
        self.draw = {"codes": ale.getScreen, "gray": ale.getScreenGrayscale, "rgb": ale.getScreenRGB}
        # act takes an Action at once and tries it first, before an int
        self.actions = {a.value: a for a in ale.getLegalActionSet()}

    def play(self, action, repeat, screens, form):
        """Plays up to repeat frames; returns reward, over, lives, frames. The last
        of screens gets the last frame, another one the frame before."""
        ale, draw = self.ale, self.draw[form]
        before, last = screens if len(screens) == 2 else (None, screens[-1])
        if action == RESTART:
            ale.reset_game()
            draw(last)
            if before is not None:
                before[...] = last
            return 0.0, False, ale.lives(), 0
        act, over = ale.act, ale.game_over
        action = self.actions.get(action, action)
        reward, played = 0, 0
        while played < repeat:
            reward += act(action)
            played += 1
            if over(with_truncation=False):
                break
            if before is not None and played == repeat - 1:
                draw(before)
                before = None
        draw(last)
        if before is not None:
            before[...] = last
        return reward, over(with_truncation=False), ale.lives(), played


# A cartridge of our own that gives the background another colour in each line:
# the frame's start, then 256 times WSYNC, COLUBK = X, X += 2; reset to F000.
RAINBOW = bytes.fromhex("a9008501a90285028500850285028502a9008500a200a00085028609e8e888d0f74c00f0")
# The emulator wants the name of a game that it knows. This one's rules wait for
# nothing at the start; those of others wait for memory that is never set here.
RAINBOW_NAME = "qbert.bin"


def colours(numpy, ale_py, game):
    """Rows code, r, g, b, gray: what the emulator makes of the codes that getScreen
    copies. None if a screen of the game, some seconds in, differs: games for
    another television standard have other colours."""
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, RAINBOW_NAME)
        with open(path, "wb") as f:
            f.write(RAINBOW.ljust(4090, b"\0") + bytes([0, 0xF0] * 3))
        ale = Game(ale_py, path, 0.0, 0).ale
        ale.act(0)
    codes, at = numpy.unique(ale.getScreen(), return_index=True)
    rows = numpy.column_stack((codes, ale.getScreenRGB().reshape(-1, 3)[at], ale.getScreenGrayscale().reshape(-1)[at]))
    table = numpy.full((256, 4), -1)
    table[codes] = rows[:, 1:]
    for _ in range(120):
        game.act(0)
    if not numpy.array_equal(table[game.getScreen()], numpy.dstack((game.getScreenRGB(), game.getScreenGrayscale()))):
        return []
    return rows.tolist()


def serve(pipe):
    kind, body = pipe.receive()
    if kind != HELLO:
        raise Refused("protocol", "the first message is of type %d, not HELLO" % kind)
    hello = json.loads(body)
    if hello["version"] != VERSION:
        raise Refused("protocol", "protocol version %s, this worker speaks %d" % (hello["version"], VERSION))
    np, ale_py, path = load(hello)
    n, form, screens = hello["n"], hello["colour"], hello["screens"]
    games = [Game(ale_py, path, hello["sticky"], s) for s in hello["seeds"]]
    ale = games[0].ale
    height, width = ale.getScreenDims()
    palette = colours(np, ale_py, ale) if hello["codes"] else []
    if palette:
        form = "codes"
    shape = (height, width, 3) if form == "rgb" else (height, width)
    size = int(np.prod(shape))
    legal = ale.getLegalActionSet()
    import hashlib

    pipe.send(READY, json.dumps(dict(
        version=VERSION, height=height, width=width,
        minimal=[a.value for a in ale.getMinimalActionSet()],
        legal=[a.value for a in legal], names=[a.name for a in legal],
        md5=hashlib.md5(open(path, "rb").read()).hexdigest(),
        ale=getattr(ale_py, "__version__", "unknown"), palette=palette,
    )).encode())

    out = bytearray(8 + screens * size)  # one game's answer
    shown = tuple(np.frombuffer(out, np.uint8, size, 8 + f * size).reshape(shape) for f in range(screens))
    while True:
        kind, body = pipe.receive()
        if kind == CLOSE:
            return
        if kind == RESET:
            for game, seed in zip(games, struct.unpack("<%dI" % n, body)):
                game.start(seed)
            pipe.send(DONE)
            continue
        if kind != STEP or len(body) != 2 * n:
            raise Refused("protocol", "message of type %d with %d bytes" % (kind, len(body)))
        pipe.put(HEAD.pack(1 + (n - body[1::2].count(0)) * len(out), OBS))
        for k, game in enumerate(games):
            action, repeat = body[2 * k], body[2 * k + 1]
            if repeat:
                RESULT.pack_into(out, 0, *game.play(action, repeat, shown, form))
                pipe.put(out)


def main():
    # Ctrl-C reaches the whole terminal; the program ends this worker when it has
    # kept what it learned.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    pipe = Pipe()
    try:
        serve(pipe)
    except Refused as e:
        pipe.send(ERROR, json.dumps(dict(kind=e.kind, text=str(e))).encode())
        sys.exit(3)


main()
