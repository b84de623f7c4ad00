"""The tools whose configurations are read."""

from luthier_cli.convert import axolotl, kubeflow, llamafactory, olive, openai, trl
from luthier_cli.convert.source import Source

SOURCES: dict[str, Source] = {
    it.name: it
    for it in (
        olive.SOURCE,
        axolotl.SOURCE,
        llamafactory.SOURCE,
        trl.SOURCE,
        openai.SOURCE,
        kubeflow.SOURCE,
    )
}
