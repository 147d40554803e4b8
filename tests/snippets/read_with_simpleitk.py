import SimpleITK as sitk

fixed = sitk.ReadImage("fixed.nii.gz")
moving = sitk.ReadImage("moving.nii.gz")
background = float(sitk.GetArrayViewFromImage(moving).min())

field = sitk.ReadImage("result/displacement.nii.gz", sitk.sitkVectorFloat64)
transform = sitk.DisplacementFieldTransform(field)  # takes the field out of the image
warped = sitk.Resample(moving, fixed, transform, sitk.sitkLinear, background)
sitk.WriteImage(warped, "warped_by_field.nii.gz")

transform = sitk.ReadTransform("result/transform.h5")  # the same map in one file
warped = sitk.Resample(moving, fixed, transform, sitk.sitkLinear, background)
sitk.WriteImage(warped, "warped_by_composite.nii.gz")
