"""Images that are read and decoded as they are needed, from data of any size.

====================  ===============================================================
shards                a split as blocks of rows, and the index that tells where they are
parquet, tar, hub     where blocks come from
order                 which row comes when: computed from seed, epoch and batch size
lane, loader          reading in that order, decoding, batches
prefetch              batches ahead of the training, in a thread
stream, sample        what is opened, and a few of its images as an ordinary data set
====================  ===============================================================
"""
