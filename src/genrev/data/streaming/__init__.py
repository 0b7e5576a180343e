"""Images that are read and decoded as they are needed, from data of any size.

==========  ========================================================================
order       which row comes when, computed from seed, epoch and batch size; a reader
stream      what is opened, and a few of its images as an ordinary data set
loader      decoding in threads, batches, a few of them ahead of the training
==========  ========================================================================

Where rows come from is told by ``genrev.data.shards`` and the sources.
"""
