"""Help texts about the panes and screens of the app, and about the terms of meta-learning that appear in them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from metatui.tui.keyboard.actions import ADAPTATION, CHARTS, PRESETS, RUNS, TRAINING


@dataclass(frozen=True)
class Topic:
    """Help about a pane or a screen."""

    title: str
    text: str
    """Text of the topic. The id of an action in braces stands for the keys of this action."""
    terms: tuple[str, ...] = ()
    """Names of terms in TERMS that are explained below the text."""
    group: str = ""
    """Group of the actions that belong to the pane or screen."""


TERMS: Mapping[str, str] = {
    "Task": (
        "A small learning problem with few examples, such as fitting a sine wave to 10 points, or recognising 5 "
        "characters after one drawing of each. Meta-learning trains on many tasks, so that a new task is learned "
        "quickly."
    ),
    "Sinusoid (sine waves)": (
        "y = A sin(x - φ): the tasks of the sinusoid data set, with amplitude A from 0.1 to 5, phase φ from 0 to π, "
        "and examples x from -5 to 5, all drawn uniformly. A trained model adapts well to tasks like these, but not to "
        "other functions."
    ),
    "Support set": "The examples of a task that the model adapts to: K of them (shots) for each of N classes (ways).",
    "Query set": "Other examples of the same task, Q for each class, used to measure how well the model has adapted.",
    "Ways and shots": "5-way 1-shot is a task with N = 5 classes and K = 1 support example of each.",
    "Inner loop": (
        "Adaptation to one task: a few gradient steps (inner steps) on the loss over its support set, at the inner "
        "learning rate. It starts from the same initial parameters for each task."
    ),
    "Outer loop": "Training across tasks. It changes the initial parameters so that the inner loop gives good results.",
    "Meta-step": "One update of the outer loop, based on the tasks of one meta-batch.",
    "Meta-batch": "The tasks of one meta-step. More tasks give a less noisy meta-gradient, but take longer.",
    "Meta-loss": (
        "The mean loss over the query sets of a meta-batch after adaptation. Most algorithms minimise it, but Reptile "
        "does not. The meta-loss depends on the shots and inner steps of training, so compare algorithms by their "
        "validation results."
    ),
    "Meta-gradient norm": (
        "The length of the gradient of the meta-loss. If it stays near 0, hardly anything is learned; if it grows "
        "without limit, training diverges. For Reptile, which does not use this gradient, it is the length of the mean "
        "change of the parameters during adaptation, which is small."
    ),
    "Adaptation curve": "Loss or accuracy on the query set after each inner step. Step 0 is before adaptation.",
    "Validation": (
        "Adaptation to held-out tasks at regular intervals of meta-steps. Nothing is learned from these tasks, but "
        "their results determine the best checkpoint."
    ),
    "Test": "Adaptation, usually after training, to held-out tasks that are used for nothing else.",
    "Held-out task": (
        "A task that is not used for training. In classification, none of its classes are used for training."
    ),
    "Interval": (
        "0.40 ± 0.05 means a mean of 0.40 over tasks, with a 95 % confidence interval of 0.05 on each side. Four times"
        " as many tasks make the interval half as wide."
    ),
    "Paired test": (
        "A test of the difference between two runs on the same tasks. It uses the difference on each task, so a "
        "difference is not hidden by tasks that are hard for both runs. A comparison contains a paired t-test, whose "
        "p depends on the mean difference, and a Wilcoxon test."
    ),
    "Significant difference (p)": (
        "p is the probability of a difference at least as large as the measured one if the runs were equally good. A "
        "difference is called significant if p is below 0.05 after Holm's correction. It can be significant and still "
        "be too small to matter."
    ),
    "Holm's correction": (
        "Among many tests, some have a small p by chance. Holm's correction raises each p, so that the probability of "
        "calling any difference significant by mistake stays below 5 % for all pairs together."
    ),
    "Wilcoxon test": (
        "A paired test of the ranks of the differences instead of their sizes (Wilcoxon signed-rank test). A few tasks "
        "with an extreme loss hardly influence it. If it disagrees with the t-test, a few tasks dominate the mean."
    ),
    "Cohen's d_z (effect size)": (
        "The mean of the differences over the tasks, divided by their standard deviation. About 0.2 is a small effect, "
        "0.5 a medium one and 0.8 a large one. Unlike significance, it does not grow with the number of tasks."
    ),
    "Welch's test": (
        "A test of the difference between two experiments, each run with several seeds. It compares the difference "
        "between the experiments with the variation between their seeds, and does not assume that this variation is "
        "equal in both experiments."
    ),
    "Transductive": (
        "Batch norm with the statistics of the whole query set, as in the papers on MAML. The examples of the query "
        "set influence each other's predictions: accuracies are higher than if each example were normalised on its own."
    ),
    "Second order": (
        "The exact meta-gradient, backpropagated through the inner steps. FOMAML and Reptile omit its second "
        "derivatives."
    ),
    "First order (FOMAML)": (
        "A meta-gradient without second derivatives: the gradients of the inner steps are treated as constants. It "
        "takes less time and memory, but ignores how the inner steps change with the initial parameters. FOMAML is "
        "first-order MAML; Reptile is another first-order algorithm."
    ),
    "Annealing": (
        "A gradual change during training. A schedule anneals the outer learning rate towards a small value, linearly "
        "or along a cosine. MAML++ anneals from first-order to second-order meta-gradients, and from the loss after "
        "every inner step to the loss after the last one only."
    ),
    "Diverged": (
        "A task diverges if its loss after adaptation is far too large or not finite, often because the inner learning "
        "rate is too high."
    ),
    "Live change": (
        "A change to a setting during a run. The journal records the change, and 'metatui rerun' repeats it at the "
        "same meta-step. When the run ends, the form keeps the new value, and an undo restores the old one. Loading "
        "the settings of a run from the runs tab leaves its changes out."
    ),
    "Scheduled changes": (
        "Changes to live settings that a preset or TOML file makes during training, each in a [[changes]] table. For "
        'example, iteration = 2000, setting = "algorithm.inner_lr" and value = 0.005 change the inner learning rate '
        "after 2,000 meta-steps. A table with iteration and validate = true adds a validation. The shell command "
        "'metatui presets save NAME --from RUN' saves the live changes of a run as scheduled changes of a preset."
    ),
    "Engine": (
        "An implementation of meta-gradients. All engines give the same results, apart from rounding; auto selects the "
        "fastest."
    ),
    "Checkpoint": "A saved state of a run, from which the run can be resumed, evaluated and explored.",
    "Export the model": (
        "The shell command 'metatui runs export RUN --model --to model.safetensors' writes the best parameters of a "
        "run's network to a file; load_state_dict can load them. In Python, metatui.load_model(RUN).adapt(x, y) adapts "
        "the network to your own examples."
    ),
    "Preset": (
        "Named settings of an experiment, with their source, their protocol and the published and measured results."
    ),
    "Journal": "The list of events of a run: validations, changes, checkpoints and warnings, each with its meta-step.",
    "Smoothing": "An average of the training curve over past meta-steps. The unsmoothed values stay visible behind it.",
    "Plugin": (
        "A Python file with a model, an algorithm or a data set of your own. The shell command 'metatui plugin model > "
        "my_model.py' writes a complete example, and 'metatui --plugin my_model.py' opens the app with the plugin, so "
        "that the form offers it."
    ),
}
"""Explanation of each term."""

ABOUT = Topic(
    "metatui",
    "metatui trains a model on many small tasks, so that a few gradient steps on the support examples of a new task "
    "give good predictions for its query examples. A run trains in its own process and continues if this window is "
    "closed. The app follows one run at a time. In a shell, use 'metatui attach' to follow a run "
    "and 'metatui stop' to stop it.",
    ("Task", "Support set", "Query set", "Inner loop", "Outer loop"),
)

TOPICS: Mapping[str, Topic] = {
    "#form": Topic(
        "Settings",
        "The settings of the next run, or of the run that the app is following. Press tab or down to go to the next "
        "field, shift+tab or up to go to the previous one, enter to open a list or a group, space to toggle a switch, "
        "and {leave} to leave a text field. Settings that do not apply are hidden. During a run, only live settings "
        "can change; press enter to apply a change. While a run is shown, the form is hidden, unless you chose to keep "
        "it visible.",
        ("Live change", "Preset", "Meta-batch", "Ways and shots"),
        TRAINING,
    ),
    "#about": Topic(
        "Next run",
        "An explanation of the algorithm with the settings in the form: idea, update rule, pseudo-code, cost of a "
        "meta-step, and paper. It is shown while no run is open, and is updated when the form changes.",
        ("Inner loop", "Outer loop", "Meta-step", "Second order"),
        TRAINING,
    ),
    "#run": Topic(
        "Run",
        "The state of the run: progress, test or validations, time, speed, memory and load, device and engine. The "
        "first small curve shows the meta-loss, and the second one shows the accuracy or the norm of the "
        "meta-gradient. An arrow shows the trend of each: rising, falling, or flat if the change is smaller than the "
        "noise. The line above the panes names the run, and the preset or run whose settings were put into the "
        "form. Runs started in the app train with low priority (niceness 10), so other programs can slow them down a "
        "lot; 'metatui run --detach' uses normal priority.",
        ("Meta-step", "Meta-loss", "Meta-gradient norm", "Validation", "Interval", "Engine"),
        TRAINING,
    ),
    "#curves": Topic(
        "Curves",
        "Loss or accuracy on the query sets after adaptation, both for training tasks at each meta-step and for "
        "validation tasks. Dashed lines mark changes to settings, a point marks the best validation result, and "
        "crosses on the axis mark values that are not finite. If results improve on training tasks but get worse on "
        "validation tasks, the model overfits. Press {cursor} or click the chart to show a cursor, with which you can "
        "read values, zoom and pan.",
        ("Meta-loss", "Meta-step", "Validation", "Interval", "Smoothing", "Live change"),
        CHARTS,
    ),
    "#adaptation": Topic(
        "Adaptation",
        "Individual held-out tasks before adaptation (step 0) and after each inner step. Regression shows the true "
        "curve, the support points and the prediction; classification shows the support images, and the predicted "
        "class of each query image. The first line shows the result over all tasks, with its protocol. The adaptation "
        "of up to three runs that are marked in the runs tab is shown side by side.",
        ("Support set", "Query set", "Inner loop", "Adaptation curve", "Transductive", "Interval", "Held-out task"),
        ADAPTATION,
    ),
    "#journal": Topic(
        "Journal",
        "The events of the run, newest last: validations, live changes, checkpoints and warnings. Each line starts "
        "with the number of meta-steps finished at that point. A validation shows its mean and 95 % interval; the "
        "first line of the adaptation pane shows its protocol.",
        ("Journal", "Validation", "Live change", "Checkpoint", "Diverged"),
        TRAINING,
    ),
    "#runs": Topic(
        "Runs",
        "All runs in the folder of runs, newest first, with their status and result, and a preview of the selected "
        "one: curve, settings that differ from its preset, journal. Press {open_run} to open a run, {sort_runs} to "
        "sort by the next column, and {reverse_runs} to reverse the order. Click a column title to sort by that "
        "column. Press {mark_run} or click [ ] to mark runs. Marked runs can be compared on the same held-out tasks or "
        "deleted, and the work tab shows the adaptation of up to three of them side by side.",
        ("Test", "Validation", "Interval", "Checkpoint"),
        RUNS,
    ),
    "#presets": Topic(
        "Presets",
        "Presets that come with metatui, grouped by task, and your own presets. Press {load_preset} to put the "
        "selected preset into the form, and {fetch_data} to download its data. The preview shows the preset's source, "
        "its protocol, the published and measured results, the settings that differ from the form, and an explanation "
        "of the algorithm.",
        ("Preset", "Scheduled changes", "Test", "Interval", "Transductive"),
        PRESETS,
    ),
    "LineChart": Topic(
        "Cursor of a chart",
        "The legend shows the values under the cursor. Press left or right to move the cursor by one column, or by ten "
        "with shift, and home or end to move it to the first or last value. Press + or -, or turn the wheel, to zoom "
        "around the cursor. Drag to pan the chart. Press 0 to show all of it, and escape to hide the cursor.",
    ),
    "CompareScreen": Topic(
        "Comparison",
        "A comparison of runs on the same held-out test tasks: training curves with validations as points, adaptation "
        "curves with intervals, tests of the differences, and conclusions. The results of each run appear as soon as "
        "it is measured; the tests and the conclusions follow when all runs are measured. Runs that differ only in the "
        "seed are summarised across seeds. Press enter or click a chart to show a cursor.",
        (
            "Adaptation curve",
            "Interval",
            "Test",
            "Ways and shots",
            "Paired test",
            "Significant difference (p)",
            "Holm's correction",
            "Wilcoxon test",
            "Cohen's d_z (effect size)",
            "Welch's test",
        ),
    ),
    "ExplorerScreen": Topic(
        "Explorer",
        "Each step of the inner loop on a held-out task, or on a task that you define, at any inner learning rate. If "
        "there is room, a chart shows the loss of a regression task after each step; press enter or click the chart to "
        "show a cursor. For the mean over many tasks, use the shell command 'metatui evaluate RUN --steps 50'.",
        ("Inner loop", "Support set", "Query set", "Adaptation curve"),
    ),
    "ParameterScreen": Topic(
        "Parameter space",
        "The inner steps on many tasks, and the adapted parameters that result, for a meta-learned and an ordinary "
        "(random) initialisation. The axes are the two directions in which the adapted parameters vary most.",
        ("Inner loop", "Task"),
    ),
    "SuiteScreen": Topic(
        "Suites",
        "A suite is a list of runs. metatui trains them one after the other in the background, and then compares them. "
        "A suite can be stopped and resumed.",
        ("Test", "Interval"),
    ),
    "BenchmarkScreen": Topic(
        "Benchmark",
        "The training speed of each engine on this machine, for several algorithms and models.",
        ("Engine", "Meta-step"),
    ),
    "ExplainScreen": Topic(
        "Explanation",
        "An explanation of an algorithm: idea, update rule, pseudo-code with the values in the form, cost of a "
        "meta-step, and paper.",
        ("Inner loop", "Outer loop", "Second order"),
    ),
}
"""Help topics of the panes and screens, keyed by CSS selector."""
