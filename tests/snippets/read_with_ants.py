import ants

fixed = ants.image_read("fixed.nii.gz")
moving = ants.image_read("moving.nii.gz")
for name in ("displacement.nii.gz", "transform.h5"):  # either file holds the whole transform
    warped = ants.apply_transforms(fixed, moving, [f"result/{name}"], defaultvalue=moving.min())
    ants.image_write(warped, f"warped_by_ants_with_{name.split('.')[0]}.nii.gz")
