"""How is a person rendered: bodies, poses, clothes, scenery, and the software renderer that draws them."""
