"""The lab's images: a handful of small programs cut out of Debian packages."""
