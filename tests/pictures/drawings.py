"""What can be asked of a drawing without a browser: is all of it inside, does no text lie on another."""

import math

from canary_judge.pictures.lettering import width_of
from canary_judge.pictures.shapes import Label, Ring


def _extent(label):
    wide = width_of(label.text, label.size, bold=label.bold)
    left = label.x - {"start": 0, "middle": wide / 2, "end": wide}[label.anchor]
    return left, left + wide


def findings(drawing):
    """Every mark outside the picture, every number that is none, every text that lies on another."""
    found, labels = [], []
    for shape in drawing.shapes:
        if isinstance(shape, Label):
            left, right = _extent(shape)
            points = [(left, shape.y), (right, shape.y)]
            labels.append((left, right, shape))
        elif isinstance(shape, Ring):
            points = [
                (shape.x - shape.radius, shape.y - shape.radius),
                (shape.x + shape.radius, shape.y + shape.radius),
            ]
        else:
            points = shape.points
        for x, y in points:
            if not (math.isfinite(x) and math.isfinite(y)):
                found.append(("no number", shape))
            elif not (0 <= x <= drawing.width and 0 <= y <= drawing.height):
                found.append(("outside", shape))
    for number, (left, right, one) in enumerate(labels):
        for left_too, right_too, other in labels[number + 1 :]:
            if abs(one.y - other.y) < 8 and min(right, right_too) - max(left, left_too) > 0.5:
                found.append(("overlap", one.text, other.text))
    return found


def texts(drawing):
    return [shape.text for shape in drawing.shapes if isinstance(shape, Label)]
