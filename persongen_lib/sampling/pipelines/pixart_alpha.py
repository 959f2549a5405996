"""PixArt-alpha by a strategy, as a pipeline of diffusers.

`PersongenPixArtAlphaPipeline.from_pretrained(model)` loads a model into it. As a `custom_pipeline`
file, diffusers runs it only with its own `trust_remote_code`.
"""

from diffusers import PixArtAlphaPipeline

from persongen_lib import attach


class PersongenPixArtAlphaPipeline(PixArtAlphaPipeline):
    """Called as `attach`'s pipelines are, with the arguments of `attach` beside: strategy, token, class_name."""

    def __call__(self, prompt, *, token, class_name, strategy="mixed", parameters=None, **options):
        """Sample by a strategy; `parameters` are the strategy's."""
        attached = attach(self, strategy, token=token, class_name=class_name, **(parameters or {}))
        return attached(prompt, **options)
