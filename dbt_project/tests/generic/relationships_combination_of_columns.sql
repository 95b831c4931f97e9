{# Returns the rows whose combination of values does not occur in the model `to`. Like dbt's own
   `relationships`, for a key of several columns. #}
{% test relationships_combination_of_columns(model, combination_of_columns, to) %}

select child.*
from {{ model }} as child
left join {{ to }} as parent
    on
        {% for column in combination_of_columns -%}
            {{ 'and ' if not loop.first }}child.{{ column }} = parent.{{ column }}
        {% endfor %}
where parent.{{ combination_of_columns | first }} is null

{% endtest %}
