"""What was typed: suggestions, errors by the flag, one line for what cannot be read."""

import pytest

from tfinit.cli import commands, main
from tfinit.cli.flags import flags_of


def refused(capfd, *arguments):
    """The line of an error that comes before anything is loaded."""
    with pytest.raises(SystemExit) as stopped:
        main([*arguments])
    out, err = capfd.readouterr()
    [line] = filter(None, err.split("\n"))  # an older TensorFlow has an empty one
    assert (stopped.value.code, out) == (2, "")
    return line.removeprefix("tfinit: ")


@pytest.mark.parametrize(
    ("arguments", "begin"),
    [
        (["lotery"], "there is no command `lotery`. Did you mean 'lottery'? Choose one of dia"),
        (["--verison"], "there is no command `--verison`. Did you mean '--version'? Choose"),
        ([], "a command is missing. Choose one of diagnose, "),
        (["--completion", "fsh"], "`--completion` must be one of bash, zsh, fish, received 'fsh'."),
        (
            ["lottery", "--levles", "3"],
            "`tfinit lottery` has no flag '--levles'. Did you mean '--levels'? `tfinit lottery --h",
        ),
        (["lottery", "-v"], "`tfinit lottery` has no flag '-v'. `tfinit lottery --help` says"),
        (["lottery", "--levels", "abc"], "--levels must be a whole number, received abc."),
        (["lottery", "--steps=1.5"], "--steps must be a whole number, received 1.5."),
        (["lottery", "--seeds", "1", "x"], "--seeds must be whole numbers, received 1 x."),
        (
            ["lottery", "--layer-prune-fractions", "fc"],
            "--layer-prune-fractions must be names with numbers, received fc.",
        ),
        (["lottery", "--levels"], "--levels needs a value: --levels N."),
        (["lottery", "--levels", "1", "2"], "2 is one word too many: `tfinit lottery [options]`."),
        (["export", "a.keras"], "Something is missing: `tfinit export MODEL OUT [options]`."),
    ],
)
def test_what_cannot_be_read_is_one_line(capfd, arguments, begin):
    assert refused(capfd, *arguments).startswith(begin)


@pytest.mark.parametrize(
    ("arguments", "begin"),
    [
        (
            ["lottery", "--rewind-step", "2000"],
            "--rewind-step must be less than --steps, 1000; received 2000.",
        ),
        (["lottery", "--prune_fraction=2"], "--prune-fraction must be a number above 0 and"),
        (["lottery", "--prune-fraction", "-1"], "--prune-fraction must be a number above 0 and"),
        (
            ["lottery", "--layer-prune-fractions", "fc/kernel", "3"],
            "--layer-prune-fractions['fc/kernel'] must be a number above 0 and below 1",
        ),
        (["lottery", "--criterion", "movment"], "--criterion must be one of magnitude, "),
        (["lottery", "--score", "movment"], "--score must be one of magnitude, "),
        (["export", "a.keras", "a.keras"], "OUT is the model itself."),
        (
            ["export", "a.keras", "b.tflit"],
            "OUT must end in .tflite, .onnx, .keras, or have no suffix for a SavedModel; "
            "received 'b.tflit'. Choose one of them, or name the --format of a directory",
        ),
        (["sweep"], "FILE is missing: give a TOML file, as `tfinit sweep sweep.toml`."),
        (
            ["prune", "a.keras", "--score", "wanda"],
            "--score is of pruning without training. Ask for that, with --after-training.",
        ),
        (["prune", "a.keras", "--epochs", "3", "--after-training"], "--epochs is of a training,"),
    ],
)
def test_errors_say_the_flag_that_was_typed(capfd, arguments, begin):
    assert refused(capfd, *arguments).startswith(begin)


@pytest.mark.parametrize(
    ("arguments", "meant"),
    [
        (["lottery", "--allocation", "globl"], "global"),
        (["lottery", "--controls", "reinitt"], "reinit"),
        (["lottery", "--optimizer", "addam"], "adam"),
        (["lottery", "--data", "digit", "--run-dir", "nowhere"], "digits"),
        (["compare", "--schemes", "orthogonl"], "orthogonal"),
        (["initialize", "a.keras", "orthogonl"], "orthogonal"),
        (["diagnose", "a.keras", "--device", "gpuu"], "gpu"),
        (["prune", "a.keras", "--channel-score", "talyor"], "taylor"),
    ],
)
def test_wrong_values_have_suggestions(capfd, arguments, meant, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert f" Did you mean {meant!r}?" in refused(capfd, *arguments)


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (
            ["--allocation", "global", "--output-prune-fraction", "0.1"],
            "--output-prune-fraction has no meaning with --allocation 'global', which",
        ),
        (
            ["--structure", "channels", "--output-prune-fraction", "0.1"],
            "--output-prune-fraction is of single weights, and --structure is 'channels'",
        ),
        (["--seeds", "0", "1", "2", "--replicates", "5"], "Give --seeds or --replicates, not both"),
        (["--replicates", "0"], "--replicates must be at least 1, received 0."),
        (["--time-limit", "5"], "--time-limit is of trainings beside each other: say how many"),
        (["--workers", "0", "--on-failure", "stop"], "--on-failure is of trainings beside each"),
    ],
)
@pytest.mark.parametrize("word", ["lottery", "initializations"])
def test_flags_of_an_experiment_that_would_be_ignored_are_refused(capfd, word, flags, words):
    assert refused(capfd, word, *flags).startswith(words)


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (
            ["--after-training", "--structure", "2:4", "--sparsity", "0.8"],
            "--structure '2:4' prunes half of the weights, received --sparsity 0.8. Leave one",
        ),
        (["--channels", "--sparsity", "0.8"], "--sparsity is of single weights, and"),
        (["--target", "macs=0.5"], "--target is of whole channels. Ask for them, with --channels."),
        (["--after-training", "--epochs", "10"], "--epochs is of a training, and nothing"),
    ],
)
def test_a_flag_that_would_be_ignored_is_refused_with_its_default_too(capfd, flags, words):
    assert refused(capfd, "prune", "missing.keras", *flags).startswith(words)


@pytest.mark.parametrize("word", commands())
def test_a_flag_with_choices_refuses_others_and_names_them(capfd, word, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    places = {"initialize": ["a", "he"], "export": ["a.keras", "b.tflite"], "sweep": ["s.toml"]}
    (tmp_path / "s.toml").write_text("[sweep]\nsteps = [1]\n")
    needed = [flag.name for flag in flags_of(commands()[word]) if flag.required]
    for flag in flags_of(commands()[word]):
        if not flag.choices:
            continue
        extra = ["--after-training"] if word == "prune" and flag.name == "allocation" else []
        extra += ["--workers", "1"] if flag.name == "on_failure" else []
        arguments = places.get(word, ["a"] * len(needed))
        said = refused(capfd, word, *arguments, flag.names[0], "wrong", *extra)
        assert said.startswith(f"{flag.names[0]} must be "), said
        assert all(choice in said for choice in flag.choices), said
