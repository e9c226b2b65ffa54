"""The named recipes: MuLan, MuLaP and SemiSupCon at the size of their papers, and their miniatures."""
