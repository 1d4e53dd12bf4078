"""How a recurrent loop runs fast. Nothing outside imports the insides of these modules."""
