"""The texts of the model cards; what stands in braces is filled in by `cards`."""

from __future__ import annotations

LICENSE = (
    "MIT, as the repository. All pictures were drawn by this repository's renderer; no photograph was used."
)

GENERATOR = """# {name}: a text-to-image model of the micro-world

A latent diffusion model of 64 x 64 drawn pictures that `diffusers.{pipeline}.from_pretrained` loads
as it is; it predicts {prediction}, and its own solver is {scheduler}.

| part | class | million parameters |
|---|---|---|
{parts}

**Data.** Rendered pictures of {classes} classes in {contexts} contexts with {kinds} accessories and {colors} color
words (`persongen world render` shows some), captions after DreamBooth's prompts, {empty:g} % of them empty.

**Recipe.** `persongen world train autoencoder`, then `persongen world train generator --family {family}`:
{training}

**Measured** on scenes that training has not seen (`persongen world measure`):

- autoencoder: PSNR {autoencoder[psnr]:.1f} dB on {autoencoder[count]} renders;
{frechet}- superclass samples at {num_steps} steps of {solver}, every second one with an accessory{colored}, read by
  micro-oracle and micro-segmenter:

| guidance scale | samples | class right | context right | accessory right | color right | seconds per image |
|---|---|---|---|---|---|---|
{rows}

Seconds are those of {device} in batches of {batch}. Each accessory, where it was asked for: {accessories}.
{further}
**Limits.** It knows the {words} words of the micro-world only; anything else is noise to it. It is a testbed for
sampling strategies; its results do not describe photographs.
"""

FRECHET = """- Frechet distance of micro-oracle's features between {samples} samples and as many decoded renders of the
  same captions, by guidance scale: {distances} ({perfect:.2f} between two sets of renders);
"""

JUDGED = """
Read by micro-judge at guidance scale {guidance_scale:g}: class {judge[class]:.3f}, context {judge[context]:.3f}, \
accessory {judge[accessory]:.3f}. It
gives the same word as micro-oracle (in brackets Cohen's kappa) for the class in {class_} of the samples, the context
in {context}, and the accessory in {accessory}; the rank correlation of their identity similarities is {identity:.3f}.
"""

CONCEPTS = """
After DreamBooth on {concepts} concepts, base samples ({samples} at a concept's own place, {samples} elsewhere) keep, \
of the identity
similarity that references have among themselves, {shares}.
"""

CHOICE = """
Of {questions} base samples elsewhere, each beside references of its individual and of another of the class, \
{shares} by identity alone.
"""

ASKED = """
Answers of someone who saw the pictures and not the prompts: {answers}.
"""

BLIND_CHOICE = "{right[individual]:.3f} of {questions} samples attributed to the right one of two individuals"
BLIND_NAMING = (
    "class {right[class]:.3f}, context {right[context]:.3f} and accessory {right[accessory]:.3f} of {questions} "
    "superclass samples named rightly"
)

ENCODER = """# {name}: pictures to adapters for {generator}, without training

An encoder of ELITE (Wei et al., arXiv 2302.13848): `persongen finetune --method elite` turns pictures of a concept into
a word, new key and value projections, and local words, in about a second. A vision tower of its own with three levels
(16 x 16, 8 x 8 and 4 x 4 patches), a global and a local mapper; `persongen_lib.encoders.elite.load_encoder` loads it.

**Data.** Rendered pairs of pictures that show one individual in two scenes, one the reference, the other the target;
none of the individuals is a shipped concept.

**Recipe.** `persongen world train elite`, the generator frozen, first the global part, then the local one. Unlike the
paper: the target is another picture of the individual, not the reference itself; one global word instead of five; the
tower is trained with the mappers (micro-clip judges, so it is not used), helped by a contrastive loss over individuals;
words are drawn to their class word instead of to 0; plain captions in the batch preserve other prompts:
{training}

**Measured** on {concepts} shipped concepts, 4 contexts x 2 seeds each, base sampling with {num_steps} steps at guidance
scale {guidance_scale:g}, lambda 0.8, read by micro-oracle: identity similarity {identity:.2f}, that of the references
among themselves {references:.2f} (share {share:.2f}), that of samples of the class word {superclass:.2f}; class right
{class:.2f}, context right {context:.2f} (class word: {superclass_context:.2f}); {seconds:.2f} s per adapter.

**Limits.** It knows the subjects of the micro-world only, and only {generator}'s weights go with it.
"""

CARDS = {
    "micro-clip": """# micro-clip: the picture-and-text evaluator of the micro-world

An `open_clip` model (`open_clip.create_model_from_pretrained("local-dir:FOLDER")`): a small ModifiedResNet and a
two-layer text transformer over whole words, trained apart from the generator and its text encoder.

**Data.** The generator's pictures and captions; {decoded_in_10:g} in 10 of the first {decoded} \
pictures decoded from noisy latents,
{blurred_in_10:g} in 10 blurred, light and place varied.

**Recipe.** `persongen world train clip`, symmetric contrastive loss:
{training}

**Measured** on {clip[renders][count]} held-out scenes, zero-shot among all {prompts} prompts "a photo of a CLASS \
CONTEXT": class
{clip[renders][class]:.3f} and context {clip[renders][context]:.3f} on renders, class {clip[decoded][class]:.3f} and
context {clip[decoded][context]:.3f} after the autoencoder.

**Limits.** Its image similarity says little of identity (what a picture shows outweighs whom); use micro-oracle's
identity for that. Words outside the micro-world are one unknown word.
""",
    "micro-oracle": """# micro-oracle: ground truth for generated pictures

A residual tower (timm) with classifiers of class, context and accessory, and a 64-dimensional identity embedding;
loaded by `persongen_lib.world.models.oracle.load_oracle`.

**Data.** Rendered pairs that share an individual and nothing else, seen as micro-clip sees them.

**Recipe.** `persongen world train oracle`, cross entropy and a supervised contrastive loss over individuals, half of
each batch from one class:
{training}

**Measured** on {oracle[renders][count]} held-out scenes, and on {identity[renders][individuals]} individuals of each
class:

| | class | context | accessory | identity AUC | same individual | other of its class |
|---|---|---|---|---|---|---|
{oracle_rows}

The AUC compares the cosine of two pictures of an individual in two contexts (with or without accessories) with that
of two individuals of a class. The individuals are new to the model.

**Limits.** Every picture is given one of the known words, also one that shows nothing known.
""",
    "micro-judge": """# micro-judge: a second reader of generated pictures

A vision transformer behind three convolutions, with classifiers of class, context and accessory, and a 64-dimensional
identity embedding; loaded by `persongen_lib.world.models.oracle.load_oracle`, as micro-oracle is. It shares neither
architecture, nor pictures, nor seeds with micro-oracle.

**Data.** Rendered pairs that share an individual and nothing else, from another seed than all other models' pictures.
{styled_in_10:g} in 10 are drawn in styles of their own (width and darkness of lines, shading, hue, saturation, gamma),
the others in the usual one. They are rendered or decoded, blurred and moved as micro-clip's are.

**Recipe.** `persongen world train judge`, cross entropy and a supervised contrastive loss over individuals, half of
each batch from one class:
{training}

**Measured** on {judge[renders][count]} held-out scenes, and on {judge_identity[renders][individuals]} individuals of \
each class:

| | class | context | accessory | identity AUC | same individual | other of its class |
|---|---|---|---|---|---|---|
{judge_rows}

Agreement with micro-oracle on the same pictures: the share of equal words with Cohen's kappa, and the rank
correlation of the identity similarities of different individuals of a class:

| | class | context | accessory | identity |
|---|---|---|---|---|
{agreement_rows}

**Limits.** Every picture is given one of the known words, also one that shows nothing known.
""",
    "micro-segmenter": """# micro-segmenter: where the subject is, and in which color

A small U-Net that gives every pixel's chance to be the subject's, with a classifier of the subject's color word;
loaded by `persongen_lib.world.models.segmenter.load_segmenter`.

**Data.** The generator's pictures as micro-clip sees them, with the renderer's masks and color words.

**Recipe.** `persongen world train segmenter`, cross entropy of masks and of color words:
{training}

**Measured** on {segmenter[renders][count]} held-out scenes: intersection over union {segmenter[renders][iou]:.3f}
and color right {segmenter[renders][color]:.3f} on renders, {segmenter[decoded][iou]:.3f} and
{segmenter[decoded][color]:.3f} after the autoencoder.

**Limits.** It finds the subjects of the micro-world only. "none" means colors of its own, so an individual that
happens to be all red may be called red.
""",
}
