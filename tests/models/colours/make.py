"""Makes colours.onnx: a detector for tests that takes any number of pictures together.

It sees one box in every picture, from the top left corner, as wide as the mean of its red and as high as the mean of
its green (pixels for bytes), of class 0. So pictures that were mixed up on their way are noticed.

Needs: pip install onnx==1.19.0. Run it in this folder.
"""

import onnx
from onnx import TensorProto, helper, numpy_helper
import numpy as np

weights = np.zeros((3, 6), np.float32)
weights[0, 2] = weights[1, 3] = 1
offsets = np.array([0, 0, 0, 0, 0.9, 0], np.float32)
nodes = [
    helper.make_node("GlobalAveragePool", ["images"], ["means"]),
    helper.make_node("Flatten", ["means"], ["flat"], axis=1),
    helper.make_node("Gemm", ["flat", "weights", "offsets"], ["rows"]),
    helper.make_node("Reshape", ["rows", "shape"], ["boxes"]),
]
constants = [
    numpy_helper.from_array(weights, "weights"),
    numpy_helper.from_array(offsets, "offsets"),
    numpy_helper.from_array(np.array([0, 1, 6], np.int64), "shape"),
]
images = helper.make_tensor_value_info("images", TensorProto.FLOAT, ["n", 3, 320, 320])
boxes = helper.make_tensor_value_info("boxes", TensorProto.FLOAT, ["n", 1, 6])
graph = helper.make_graph(nodes, "colours", [images], [boxes], constants)
model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
onnx.checker.check_model(model)
onnx.save(model, "colours.onnx")
