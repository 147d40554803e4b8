"""What a command sets before it computes."""

import subprocess
import sys


def test_keras_comes_without_scikit_learn_which_can_still_be_had():
    program = (
        "import sys\n"
        "from tfreg.workflows.runtime import set_up\n"
        "set_up(seed=3)\n"
        "print('keras' in sys.modules, 'sklearn' in sys.modules)\n"
        "import sklearn.linear_model\n"
        "print(sklearn.linear_model.LogisticRegression.__name__)\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, encoding="utf-8", check=True)
    assert done.stdout == "True False\nLogisticRegression\n"
