"""A small config in MMAction2's language, of which tests change single lines."""

MODEL = """
model = dict(
    type='Recognizer2D',
    backbone=dict(type='ResNet', depth=50, norm_eval=False),
    cls_head=dict(type='TSNHead', num_classes=5, in_channels=2048, average_clips='prob', dropout_ratio=0.4),
    data_preprocessor=dict(type='ActionDataPreprocessor', mean=[120, 110, 100], std=[60, 50, 40], format_shape='NCHW'))
"""
DATA = """
train_pipeline = [
    dict(type='DecordInit'),
    dict(type='SampleFrames', clip_len=1, frame_interval=1, num_clips=3),
    dict(type='DecordDecode'),
    dict(type='Resize', scale=(-1, 256)),
    dict(type='RandomResizedCrop'),
    dict(type='Resize', scale=(224, 224), keep_ratio=False),
    dict(type='Flip', flip_ratio=0.5),
    dict(type='FormatShape', input_format='NCHW'),
    dict(type='PackActionInputs'),
]
val_pipeline = [
    dict(type='SampleFrames', clip_len=1, frame_interval=1, num_clips=3, test_mode=True),
    dict(type='Resize', scale=(-1, 256)),
    dict(type='CenterCrop', crop_size=224),
]
train_dataloader = dict(
    batch_size=4,
    num_workers=2,
    sampler=dict(type='DefaultSampler', shuffle=True),
    dataset=dict(
        type='VideoDataset', ann_file='lists/train.txt', data_prefix=dict(video='videos'), pipeline=train_pipeline))
val_dataloader = dict(
    batch_size=2,
    dataset=dict(
        type='VideoDataset',
        ann_file='lists/val.txt',
        data_prefix=dict(video='videos'),
        pipeline=val_pipeline,
        test_mode=True))
"""
TRAINING = """
optim_wrapper = dict(
    optimizer=dict(type='SGD', lr=0.01, momentum=0.9, weight_decay=0.0001),
    clip_grad=dict(max_norm=40, norm_type=2))
param_scheduler = [dict(type='MultiStepLR', begin=0, end=10, by_epoch=True, milestones=[4, 8], gamma=0.1)]
train_cfg = dict(type='EpochBasedTrainLoop', max_epochs=10, val_begin=1, val_interval=2)
val_evaluator = dict(type='AccMetric')
default_hooks = dict(
    checkpoint=dict(type='CheckpointHook', interval=1, save_best='auto'),
    logger=dict(type='LoggerHook', interval=20))
"""
CONFIG = MODEL + DATA + TRAINING
