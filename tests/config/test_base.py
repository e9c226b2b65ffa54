import pytest

from mulan.config.errors import RecipeError
from mulan.config.recipe import recipe_from_toml
from mulan.recipes.registry import load_recipe, named_recipes


def test_settings_add_variables_one_by_one_and_values_are_text() -> None:
    settings = [
        "scale.env.NCCL_SOCKET_IFNAME=eth0",
        "scale.env.NCCL_IB_DISABLE=1",
        "scale.env.FI_EFA_USE_DEVICE_RDMA=true",
        "scale.env.NCCL_DEBUG_SUBSYS=INIT,NET",
        "scale.env.EMPTY=",
    ]
    recipe = load_recipe("demo", named_recipes(), settings)
    assert recipe.scale.env == {
        "NCCL_SOCKET_IFNAME": "eth0",
        "NCCL_IB_DISABLE": "1",
        "FI_EFA_USE_DEVICE_RDMA": "true",
        "NCCL_DEBUG_SUBSYS": "INIT,NET",
        "EMPTY": "",
    }
    assert recipe_from_toml(recipe.to_toml(), name="kept") == recipe


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        ('scale.env={"nccl debug"="INFO"}', "'nccl debug' is not a valid variable name"),
        ("scale.env.1ST=x", "'1ST' is not a valid variable name"),
        ("scale.env.RANK=0", "the variable RANK is set by Ray, Ray Train or mulan"),
        ("scale.env.RAY_ADDRESS=auto", "RAY_ADDRESS is set by Ray"),
        ("scale.env.DS_ACCELERATOR=cuda", "DS_ACCELERATOR is set by Ray"),
        ("scale.env.A=[1]", "scale.env.A = [1]: input should be a valid string"),
        ('scale.env.A="\\u0000"', "the value of A contains a null byte"),
        ("scale.env=NCCL_DEBUG", "scale.env = 'NCCL_DEBUG': input should be a valid dictionary"),
    ],
)
def test_what_cannot_be_a_workers_variable_is_refused(setting: str, said: str) -> None:
    with pytest.raises(RecipeError) as caught:
        load_recipe("demo", named_recipes(), [setting])
    assert said in str(caught.value)
