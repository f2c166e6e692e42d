"""Makes detectors for tests that take any number of pictures together.

They see one box in every picture, from the top left corner, as wide as the mean of its red and as high as the mean of
its green (pixels for bytes), of class 0. So pictures that were mixed up on their way are noticed.

- colours.onnx takes 32-bit floats as `[n, 3, height, width]`
- colours-half.onnx takes 16-bit floats, and gives them
- colours-bytes.onnx takes bytes
- colours-last.onnx takes 32-bit floats as `[n, height, width, 3]`
- colours-newer.onnx says that it needs operators of a version that no library has

Needs: pip install onnx==1.19.0. Run it in this folder.
"""

import onnx
from onnx import TensorProto, helper, numpy_helper
import numpy as np


def make(name, element=TensorProto.FLOAT, computes=np.float32, channels_last=False, opset=13):
    weights = np.zeros((3, 6), computes)
    weights[0, 2] = weights[1, 3] = 1
    offsets = np.array([0, 0, 0, 0, 0.9, 0], computes)
    nodes, values = [], "images"
    if element == TensorProto.UINT8:
        nodes.append(helper.make_node("Cast", [values], ["numbers"], to=TensorProto.FLOAT))
        values = "numbers"
    if channels_last:
        nodes.append(helper.make_node("Transpose", [values], ["planes"], perm=[0, 3, 1, 2]))
        values = "planes"
    nodes += [
        helper.make_node("GlobalAveragePool", [values], ["means"]),
        helper.make_node("Flatten", ["means"], ["flat"], axis=1),
        helper.make_node("Gemm", ["flat", "weights", "offsets"], ["rows"]),
        helper.make_node("Reshape", ["rows", "shape"], ["boxes"]),
    ]
    constants = [
        numpy_helper.from_array(weights, "weights"),
        numpy_helper.from_array(offsets, "offsets"),
        numpy_helper.from_array(np.array([0, 1, 6], np.int64), "shape"),
    ]
    shape = ["n", 320, 320, 3] if channels_last else ["n", 3, 320, 320]
    images = helper.make_tensor_value_info("images", element, shape)
    result = TensorProto.FLOAT16 if element == TensorProto.FLOAT16 else TensorProto.FLOAT
    boxes = helper.make_tensor_value_info("boxes", result, ["n", 1, 6])
    graph = helper.make_graph(nodes, "colours", [images], [boxes], constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)
    if opset == 13:
        onnx.checker.check_model(model)
    onnx.save(model, f"{name}.onnx")


make("colours")
make("colours-half", TensorProto.FLOAT16, np.float16)
make("colours-bytes", TensorProto.UINT8)
make("colours-last", channels_last=True)
make("colours-newer", opset=99)
